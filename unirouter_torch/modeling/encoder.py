"""From a prompt to an embedding; the only home of transformers."""

import contextlib
import dataclasses
import hashlib
import inspect
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from unirouter_torch.config.checks import at_least
from unirouter_torch.errors import ArtifactError, ConfigError, DataError
from unirouter_torch.modeling.encoder_files import (
    EncoderRecipe,
    download_encoder,
    find_encoder,
    first_line,
    read_recipe,
    write_recipe,
)
from unirouter_torch.modeling.pooling import pool_and_normalize
from unirouter_torch.progress import progress
from unirouter_torch.shapes import Embedding, TokenMask
from unirouter_torch.storage import digest_of_tensors

_FALLBACK_MAX_LENGTH = 512


class PromptEncoder(nn.Module):
    """Any text network in Hugging Face layout, with the pooling that its sentence-transformers files ask for.

    Use :meth:`from_pretrained`.

    Args:
        network: Gives one vector for each token.
        tokenizer: Cuts prompts into the network's tokens.
        recipe: Pooling, normalisation, longest prompt and prefix.
        name: Where the encoder came from.
        folder: Its files on this machine; None where it was made in memory.

    Example:
        >>> encoder = PromptEncoder.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")
        >>> encoder.embed(["What is 17 + 25?"]).shape
        torch.Size([1, 384])
    """

    def __init__(
        self, network: PreTrainedModel, tokenizer: Any, recipe: EncoderRecipe, *, name: str, folder: Path | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.recipe = recipe
        self.name = name
        self.folder = folder

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str,
        *,
        revision: str | None = None,
        max_length: int | None = None,
        allow_download: bool = True,
    ) -> "PromptEncoder":
        """Load an encoder from a local folder, an installed package or the hub, in this order.

        Pooling, normalisation, longest prompt and prefix are what the sentence-transformers files say. Without such
        files: mean pooling, normalised. No code from the encoder's folder is run, and only safetensors are read.

        Args:
            name_or_path: Hub id, or a local folder.
            revision: Branch, tag or commit on the hub; the hub's default when not given. Plays no part where the
                encoder is found on this machine.
            max_length: Longest prompt [tokens], at least 8; longer ones are cut. When not given, what the
                sentence-transformers files say, else the tokenizer's limit (512 if it has none), and never more than
                the network has positions.
            allow_download: Whether the hub may be asked; its files on this machine are always used.

        Returns:
            The encoder on the CPU, in float32, in evaluation mode.

        Raises:
            ArtifactError: The encoder is not found, damaged, or of a kind that is not supported.
            ConfigError: ``max_length`` is below 8 or above the positions of the network.
        """
        place = find_encoder(name_or_path)
        if isinstance(place, Path):
            folder = place
        else:
            folder = download_encoder(place, revision=revision, allow_download=allow_download)
        recipe = read_recipe(folder)
        network, tokenizer = _load(folder)
        max_length = _resolve_max_length(max_length, recipe.max_length, tokenizer.model_max_length, network)
        recipe = dataclasses.replace(recipe, max_length=max_length)
        return cls(network, tokenizer, recipe, name=name_or_path, folder=folder).eval()

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        dim: int = self.network.config.hidden_size
        return dim

    @property
    def max_length(self) -> int:
        """Longest prompt [tokens], the prefix included; longer ones are cut."""
        assert self.recipe.max_length is not None
        return self.recipe.max_length

    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder so that :meth:`from_pretrained` and ``SentenceTransformer`` load it.

        Args:
            folder: Where to; made where missing.
        """
        # the state of the latest call, no part of the tokenizer
        self.tokenizer.backend_tokenizer.no_truncation()
        self.tokenizer.backend_tokenizer.no_padding()
        with _quiet_transformers():
            self.network.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        write_recipe(folder, self.recipe, self.dim)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Int[Tensor, "prompt token"]]:
        """The arguments of :meth:`forward` for some prompts, on the CPU.

        Padding is always on the right, so that no embedding depends on its neighbours in the batch.

        Args:
            texts: Prompts; half of a surrogate pair counts as a question mark.

        Returns:
            ``input_ids`` and ``attention_mask``, of at least one token, cut at ``max_length``.

        Raises:
            DataError: ``texts`` is one string, or a prompt is no string.
        """
        check_texts(texts)
        texts = [self.recipe.prefix + text.encode(errors="replace").decode() for text in texts]
        if self.recipe.lower_case:
            texts = [text.lower() for text in texts]
        rows = self.tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"] if texts else []
        num_tokens = max([1, *map(len, rows)])
        input_ids = torch.full((len(rows), num_tokens), self.tokenizer.pad_token_id or 0)
        attention_mask = torch.zeros_like(input_ids)
        for row, tokens in enumerate(rows):
            input_ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
            attention_mask[row, : len(tokens)] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def forward(self, input_ids: Int[Tensor, "prompt token"], attention_mask: TokenMask) -> Embedding:
        """Embeddings of tokenized prompts, differentiable.

        Args:
            input_ids: Tokens.
            attention_mask: 1 for a token of the prompt, 0 for padding.

        Returns:
            One vector for each prompt, of length 1 where the encoder normalises.
        """
        output = self.network(input_ids=input_ids, attention_mask=attention_mask)
        tokens, recipe = output.last_hidden_state, self.recipe
        return pool_and_normalize(recipe.pooling, tokens, attention_mask, normalize=recipe.normalize)

    def embed(self, texts: Sequence[str], *, batch_size: int = 64, show_progress: bool = False) -> Embedding:
        """Embeddings of prompts, in evaluation mode and without gradients, computed on the encoder's device.

        Args:
            texts: Prompts; those without any token get the zero vector.
            batch_size: Prompts in one forward pass, at least 1.
            show_progress: Whether to draw a bar.

        Returns:
            One vector for each prompt in the given order, on the CPU, in float32.

        Raises:
            DataError: ``texts`` is one string, or a prompt is no string.
        """
        check_texts(texts)
        embedding = torch.empty(len(texts), self.dim)
        # Longest first: similar lengths share a batch, and a lack of memory shows at once.
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        device = next(self.network.parameters()).device
        with _evaluation_mode(self), torch.inference_mode():
            for rows in progress(batches, "Embedding", enabled=show_progress):
                tokens = self.tokenize([texts[row] for row in rows])
                embedding[rows] = self(**{name: value.to(device) for name, value in tokens.items()}).float().cpu()
        return embedding

    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of all that decides an embedding: weights, recipe and tokenizer.

        It is computed anew each time, as fine-tuning changes it.
        """
        tokenizer = json.loads(self.tokenizer.backend_tokenizer.to_str())
        # The state of the latest call, no part of the tokenizer.
        del tokenizer["truncation"], tokenizer["padding"]
        content = [digest_of_tensors(self.network.state_dict()), dataclasses.asdict(self.recipe), tokenizer]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_texts(texts: Sequence[str]) -> None:
    """Refuse anything but a sequence of strings.

    Raises:
        DataError: ``texts`` is one string, or a prompt is no string.
    """
    if isinstance(texts, str):
        raise DataError("prompts: got one string, expected a list of strings. Write [prompt].")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"prompts: row {row} is {text!r}, expected a string. Remove it or write it as text.")


def _load(folder: Path) -> tuple[PreTrainedModel, Any]:
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with _quiet_transformers():
            config = AutoConfig.from_pretrained(folder, **safe)
            config.use_cache = False
            network_class: Any = MODEL_MAPPING[type(config)]
            has_pooler = "add_pooling_layer" in inspect.signature(network_class).parameters
            network, report = AutoModel.from_pretrained(
                folder,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **({"add_pooling_layer": False} if has_pooler else {}),
                **safe,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
    except Exception as error:  # A damaged folder makes transformers raise almost anything.
        raise ArtifactError(
            f"{folder}: cannot be loaded as an encoder ({first_line(error)}). Expected a folder in Hugging Face "
            "layout with config.json, model.safetensors and tokenizer.json."
        ) from None
    if config.is_encoder_decoder:
        raise ArtifactError(f"{folder}: {config.model_type} is an encoder-decoder, expected an encoder or a decoder.")
    if report["missing_keys"]:
        raise ArtifactError(f"{folder}: the weights lack {sorted(report['missing_keys'])[:3]}. Copy the folder whole.")
    # Where its files are missing, transformers makes up a tokenizer that knows special tokens alone.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ArtifactError(f"{folder}: the tokenizer knows no word. Copy the folder whole, with tokenizer.json.")
    if not tokenizer.is_fast:
        raise ArtifactError(f"{folder}: got a {type(tokenizer).__name__}, expected a fast tokenizer (tokenizer.json).")
    return network, tokenizer


def _resolve_max_length(asked: int | None, stored: int | None, tokenizer_limit: int, network: PreTrainedModel) -> int:
    positions = _num_positions(network)
    if asked is not None:
        at_least("encoder.max_length", asked, 8)
        if asked > positions:
            raise ConfigError(f"encoder.max_length: got {asked}, expected at most the encoder's {positions} positions.")
        return asked
    # A tokenizer without a limit gives an astronomic one.
    usual = tokenizer_limit if tokenizer_limit < 2**31 else _FALLBACK_MAX_LENGTH
    return min(stored or usual, positions)


def _num_positions(network: PreTrainedModel) -> int:
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin begin to count after the padding token.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    positions = getattr(network.config, "max_position_embeddings", None)
    return positions if positions and positions > 0 else 2**31


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    verbosity, has_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if has_bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
