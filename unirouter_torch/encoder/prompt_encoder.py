"""From a prompt to an embedding: the interface of every kind of encoder."""

# over 300 lines: the contract of every encoder; two fifths are docstrings

import contextlib
import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeGuard, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn

from unirouter_torch.config.router import CHARS_PER_TOKEN, Backend, KeptPart
from unirouter_torch.encoder.files import EncoderRecipe
from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.padding import batches_by_tokens, pad_rows
from unirouter_torch.errors import DataError
from unirouter_torch.messages import LAST_USER, LISTED, Prompt, prompt_text
from unirouter_torch.progress import progress
from unirouter_torch.shapes import Embedding, TokenMask

_Ends = TypeVar("_Ends", str, list[int])

NO_LIMIT = 2**31 - 1
"""Longest prompt [tokens] of an encoder that reads prompts of any length."""

_TOKENIZED_AT_ONCE = 1024

_CHARACTERS_A_TOKEN = 64
_MOST_CHARACTERS = 2**18


class PromptEncoder(nn.Module, ABC):
    """Embeds prompts: a vector of what the text says, and beside it, where there is a form, one of how it looks.

    A prompt passes as text, tokens, embedding. Two kinds exist: ``TransformerEncoder``, which
    ``OnnxEncoder`` runs faster, and ``StaticEncoder``.

    Args:
        recipe: Pooling, normalisation, longest prompt and prefix.
        name: Where the encoder came from.
        folder: Its files on this machine; None where it was made in memory.
        form: Surface features that are put beside the embedding of the tokens; none where not given.

    Example:
        >>> encoder = PromptEncoder.from_pretrained("sentence-transformers/all-MiniLM-L6-v2")
        >>> encoder.embed(["What is 17 + 25?"]).shape
        torch.Size([1, 384])
    """

    backend: Backend = "torch"
    """What runs it; only what torch runs can be trained and exported."""

    def __init__(
        self, recipe: EncoderRecipe, *, name: str, folder: Path | None = None, form: PromptForm | None = None
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.name = name
        self.folder = folder
        self.form = form

    @staticmethod
    def from_pretrained(
        name_or_path: str,
        *,
        revision: str | None = None,
        max_length: int | None = None,
        form_weight: float | None = None,
        keep: KeptPart = "head",
        conversation: str = LAST_USER,
        backend: Backend = "torch",
        cache_dir: str | None = None,
        allow_download: bool = True,
    ) -> "PromptEncoder":
        """Load an encoder of either kind from a local folder, an installed package or the hub, in this order.

        Pooling, normalisation, longest prompt and prefix are what the sentence-transformers files say. Without such
        files: mean pooling, normalised. No code from the encoder's folder is run, and only safetensors are read.

        Args:
            name_or_path: Hub id, a local folder, or the name of a router that comes with the package and its encoder.
            revision: Branch, tag or commit on the hub; the hub's default when not given. Plays no part where the
                encoder is found on this machine.
            max_length: Longest prompt [tokens], at least 8; longer ones are cut. When not given, what the
                sentence-transformers files say, else the tokenizer's limit (512 if it has none), and never more than
                the network has positions. A static encoder reads prompts of any length when it is not given.
            form_weight: Weight of the surface features beside the embedding; 0 leaves them out. What the folder says
                when not given, and none where it says nothing.
            keep: What is read of a prompt of more than ``max_length`` tokens.
            conversation: How a conversation becomes its prompt: ``last_user``, ``last_turns:N`` or ``whole``.
            backend: What runs a transformer: ``torch``, or ``onnx`` and ``onnx-int8`` (ONNX Runtime on the CPU), whose
                graph is built at the first call.
            cache_dir: Where such a graph is kept; the user's cache folder when not given.
            allow_download: Whether the hub may be asked; its files on this machine are always used.

        Returns:
            The encoder on the CPU, in float32, in evaluation mode.

        Raises:
            ArtifactError: The encoder is not found, damaged, or of a kind that is not supported.
            ConfigError: ``max_length`` is below 8 or above the positions of the network; another backend than
                ``torch`` for a static encoder, or without its packages.
        """
        # here, as each kind is made of this class
        from unirouter_torch.encoder.loading import load_encoder

        encoder = load_encoder(
            name_or_path,
            revision=revision,
            max_length=max_length,
            form_weight=form_weight,
            backend=backend,
            cache_dir=cache_dir,
            allow_download=allow_download,
        )
        encoder.recipe = dataclasses.replace(encoder.recipe, keep=keep, conversation=conversation)
        return encoder

    @property
    @abstractmethod
    def text_dim(self) -> int:
        """Length of the embedding of the tokens."""

    @property
    @abstractmethod
    def backend_tokenizer(self) -> Tokenizer:
        """What cuts text into tokens, as the package ``tokenizers`` has it."""

    @property
    @abstractmethod
    def pad_token(self) -> str | None:
        """Name of the token that padding is filled with; None where the tokenizer has none."""

    @property
    @abstractmethod
    def filler(self) -> int:
        """The token that padding is filled with."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    @abstractmethod
    def tokens_per_batch(self) -> int:
        """Tokens, padding included, that pass together."""

    @abstractmethod
    def forward(self, input_ids: Int[Tensor, "prompt token"], attention_mask: TokenMask) -> Embedding:
        """Embeddings of tokenized prompts without their form, differentiable.

        Args:
            input_ids: Tokens.
            attention_mask: 1 for a token of the prompt, 0 for padding.

        Returns:
            One vector for each prompt, of length 1 where the encoder normalises.
        """

    @abstractmethod
    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder so that :meth:`from_pretrained` and ``SentenceTransformer`` load it.

        Args:
            folder: Where to; made where missing.
        """

    @abstractmethod
    def _token_ids(self, texts: list[str], limit: int | None) -> list[list[int]]:
        """Tokens of prompts that are prefixed already; the first ``limit`` of each, or all."""

    @abstractmethod
    def _num_added(self) -> tuple[int, int]:
        """Tokens that are put before and after every prompt, such as [CLS] and [SEP]; the prefix is none of them."""

    @abstractmethod
    def _digest_of_weights(self) -> str:
        """Hexadecimal SHA-256 of the weights."""

    @property
    def form_dim(self) -> int:
        """Number of surface features: the last columns of an embedding."""
        return 0 if self.form is None else self.form.dim

    @property
    def dim(self) -> int:
        """Length of an embedding, its form included."""
        return self.text_dim + self.form_dim

    @property
    def max_length(self) -> int:
        """Longest prompt [tokens], the prefix included; longer ones are cut."""
        return self.recipe.max_length or NO_LIMIT

    @property
    def most_characters(self) -> int:
        """Characters of a prompt that are tokenized: 64 for each token that can count, and 262,144 at most."""
        return min(_CHARACTERS_A_TOKEN * self.max_length, _MOST_CHARACTERS)

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
        # a text of a million characters takes a second and a hundred megabytes to tokenize, for the few that count
        texts = [self._kept_characters(text).encode(errors="replace").decode() for text in texts]
        texts = [self.recipe.prefix + text for text in texts]
        if self.recipe.lower_case:
            texts = [text.lower() for text in texts]
        rows: list[Tensor] = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            some = texts[start : start + _TOKENIZED_AT_ONCE]
            ids = self._token_ids(some, self.max_length) if self.recipe.keep == "head" else self._ends_of(some)
            rows += rows_of_ids(ids)
        return rows

    def _kept_characters(self, text: str) -> str:
        first = {"head": self.most_characters, "head_and_tail": self.most_characters // 2, "tail": 0}[self.recipe.keep]
        return _keep_ends(text, self.most_characters, first)

    def _ends_of(self, texts: list[str]) -> list[list[int]]:
        """Tokens of prompts that are cut in front or in the middle; prefix and special tokens stay."""
        before, after = self._num_added()
        if self.recipe.prefix:
            before += len(self.backend_tokenizer.encode(self.recipe.prefix, add_special_tokens=False).ids)
        room = max(0, self.max_length - before - after)
        first = min(self.max_length, before + (room - room // 2 if self.recipe.keep == "head_and_tail" else 0))
        return [_keep_ends(ids, self.max_length, first) for ids in self._token_ids(texts, None)]

    def texts(self, prompts: Sequence[Prompt]) -> list[str]:
        """The texts that prompts are embedded by: conversations become text as the recipe says, texts stay.

        Args:
            prompts: Texts, and conversations: lists of messages with role and content, or the same written as JSON.

        Raises:
            DataError: ``prompts`` is one string, or a prompt is neither.
        """
        if isinstance(prompts, str):
            check_texts(prompts)
        rule = self.recipe.conversation
        texts = [prompt if _is_plain(prompt) else prompt_text(prompt, rule) for prompt in prompts]
        for row, text in enumerate(texts):
            if text is None:
                raise DataError(
                    f"prompts: row {row} is {prompts[row]!r:.200}, expected a string, or a list of messages with role "
                    "and content. Remove it or write it as text."
                )
        return [text for text in texts if text is not None]

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
        embedding = self.embed_rows(self.tokenize_rows(distinct), show_progress=show_progress)
        return self.with_form(embedding, distinct)[position]

    def embed_rows(self, rows: Sequence[Int[Tensor, " _token"]], *, show_progress: bool = False) -> Embedding:
        """The same without the form, from the tokens of :meth:`tokenize_rows`.

        Args:
            rows: Tokens of each prompt.
            show_progress: Whether to draw a bar.
        """
        batches, device = self._batches([len(row) for row in rows]), self.device
        parts = [torch.empty(0, self.text_dim, device=device)]
        with _evaluation_mode(self), torch.inference_mode():
            steps = progress(batches, "Embedding") if show_progress else batches
            for batch in steps:
                inputs = self._collate([rows[row] for row in batch])
                parts.append(self._embed_together(*(_to_device(part, device) for part in inputs)).float())
        embedding = torch.empty(len(rows), self.text_dim)
        embedding[[row for batch in batches for row in batch]] = torch.cat(parts).cpu()
        return embedding

    def _batches(self, lengths: list[int]) -> list[list[int]]:
        """Positions of prompts of these lengths [tokens] that pass together."""
        return batches_by_tokens(lengths, self.tokens_per_batch)

    def _collate(self, rows: Sequence[Int[Tensor, " _token"]]) -> tuple[Tensor, ...]:
        """The tokens of some prompts, at least one, as the arguments of :meth:`_embed_together`, on the CPU."""
        return pad_rows(rows, self.filler)

    def _embed_together(self, *parts: Tensor) -> Embedding:
        """What :meth:`forward` gives for prompts of :meth:`_collate`, on the encoder's device."""
        input_ids, mask = parts
        embedding: Embedding = self(input_ids.long(), mask)
        return embedding

    def with_form(self, embedding: Float[Tensor, "prompt text_dim"], texts: Sequence[str]) -> Embedding:
        """Embeddings of tokens with the form of their prompts beside them, where this encoder has one."""
        return embedding if self.form is None else torch.cat([embedding, self.form.of_texts(texts)], dim=1)

    def fingerprint_of_text(self) -> str:
        """Hexadecimal SHA-256 of all that decides :meth:`embed_rows`: weights, recipe and tokenizer.

        It is computed anew each time, as fine-tuning changes it.
        """
        tokenizer = json.loads(self.backend_tokenizer.to_str())
        # The state of the latest call, no part of the tokenizer.
        del tokenizer["truncation"], tokenizer["padding"]
        content = [self._digest_of_weights(), self.recipe.facts(), tokenizer]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of all that decides an embedding, the form included."""
        of_text = self.fingerprint_of_text()
        if self.form is None:
            return of_text
        content = [of_text, self.form.to_json()]
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


def _is_plain(prompt: Prompt) -> TypeGuard[str]:
    """Whether a prompt is embedded as it is: a text that is no conversation and holds no half of a surrogate pair."""
    if not isinstance(prompt, str) or LISTED.match(prompt):
        return False
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return False
    return True


def count_tokens(prompts: Sequence[str]) -> Float[Tensor, " prompt"]:
    """Length of prompts [tokens], estimated from their characters: what costs and contexts are counted by."""
    return torch.tensor([len(prompt) for prompt in prompts], dtype=torch.float64) / CHARS_PER_TOKEN


def _keep_ends(content: _Ends, most: int, first: int) -> _Ends:
    """At most so many items of a text or list: the first few and the last ones; the middle is cut.

    Args:
        content: What may be too long.
        most: Items that may stay, at least 0.
        first: How many of them are from the beginning, from 0 to ``most``.
    """
    if len(content) <= most:
        return content
    return content[:first] + content[len(content) - (most - first) :]


def distinct_texts(texts: Sequence[str]) -> tuple[list[str], Int[Tensor, " prompt"]]:
    """Each text once, in the order of first appearance, and for every given one its place among them."""
    place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return list(place), torch.tensor([place[text] for text in texts], dtype=torch.int64)


def rows_of_ids(ids: Sequence[Sequence[int]]) -> list[Int[Tensor, " _token"]]:
    """The tokens of prompts as int32; all of them share one piece of memory, so that few calls make them.

    Args:
        ids: Tokens of each prompt.
    """
    lengths = [len(tokens) for tokens in ids]
    flat = np.fromiter(chain.from_iterable(ids), dtype=np.int32, count=sum(lengths))
    return list(torch.split(torch.from_numpy(flat), lengths))


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device; to CUDA from pinned memory, so that the CPU can go on with the next one."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextlib.contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
