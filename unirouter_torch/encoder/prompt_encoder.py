"""From a prompt to an embedding."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from unirouter_torch.encoder.files import (
    EncoderRecipe,
    download_encoder,
    find_encoder,
    read_recipe,
    write_recipe,
)
from unirouter_torch.encoder.loading import load_network, quiet_transformers, resolve_max_length
from unirouter_torch.encoder.pooling import pool_and_normalize
from unirouter_torch.encoder.token_rows import batches_by_tokens, distinct_texts, pad_rows, to_device, tokens_per_batch
from unirouter_torch.errors import DataError
from unirouter_torch.progress import progress
from unirouter_torch.shapes import Embedding, TokenMask
from unirouter_torch.storage import digest_of_tensors

_TOKENIZED_AT_ONCE = 1024


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
        network, tokenizer = load_network(folder)
        max_length = resolve_max_length(max_length, recipe.max_length, tokenizer.model_max_length, network)
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
        with quiet_transformers():
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
        input_ids, attention_mask = pad_rows(self.tokenize_rows(texts), self.filler)
        return {"input_ids": input_ids.long(), "attention_mask": attention_mask}

    def tokenize_rows(self, texts: Sequence[str]) -> list[Int[Tensor, " _token"]]:
        """The tokens of each prompt, without padding.

        Args:
            texts: Prompts; half of a surrogate pair counts as a question mark.

        Returns:
            One ``[token]`` of int32 for each prompt, at most ``max_length`` long; empty where there is no token.

        Raises:
            DataError: ``texts`` is one string, or a prompt is no string.
        """
        check_texts(texts)
        texts = [self.recipe.prefix + text.encode(errors="replace").decode() for text in texts]
        if self.recipe.lower_case:
            texts = [text.lower() for text in texts]
        rows: list[Tensor] = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            some = texts[start : start + _TOKENIZED_AT_ONCE]
            found = self.tokenizer(some, truncation=True, max_length=self.max_length)["input_ids"]
            rows += [torch.tensor(tokens, dtype=torch.int32) for tokens in found]
        return rows

    @property
    def filler(self) -> int:
        """The token that padding is filled with."""
        token: int = self.tokenizer.pad_token_id or 0
        return token

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

    def embed(self, texts: Sequence[str], *, show_progress: bool = False) -> Embedding:
        """Embeddings of prompts, in evaluation mode and without gradients, computed on the encoder's device.

        Equal prompts are embedded once.

        Args:
            texts: Prompts; those without any token get the zero vector.
            show_progress: Whether to draw a bar.

        Returns:
            One vector for each prompt in the given order, on the CPU, in float32.

        Raises:
            DataError: ``texts`` is one string, or a prompt is no string.
        """
        check_texts(texts)
        distinct, position = distinct_texts(texts)
        return self.embed_rows(self.tokenize_rows(distinct), show_progress=show_progress)[position]

    def embed_rows(self, rows: Sequence[Int[Tensor, " _token"]], *, show_progress: bool = False) -> Embedding:
        """The same from the tokens of :meth:`tokenize_rows`; prompts of similar length pass through together.

        Args:
            rows: Tokens of each prompt.
            show_progress: Whether to draw a bar.
        """
        device = next(self.network.parameters()).device
        batches = batches_by_tokens([len(row) for row in rows], tokens_per_batch(device))
        parts = [torch.empty(0, self.dim, device=device)]
        with _evaluation_mode(self), torch.inference_mode():
            for batch in progress(batches, "Embedding", enabled=show_progress):
                input_ids, mask = pad_rows([rows[row] for row in batch], self.filler)
                parts.append(self(to_device(input_ids, device).long(), to_device(mask, device)).float())
        embedding = torch.empty(len(rows), self.dim)
        embedding[[row for batch in batches for row in batch]] = torch.cat(parts).cpu()
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


@contextlib.contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
