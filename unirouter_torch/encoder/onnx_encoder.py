"""A transformer encoder that ONNX Runtime runs on a CPU: with 8-bit weights in half the time."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor
from torch.export import Dim

from unirouter_torch.config.fingerprint import digest_of
from unirouter_torch.config.router import Backend
from unirouter_torch.encoder.files import EncoderRecipe
from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.onnx_runtime import open_session, require_onnx, round_weights, write_onnx_program
from unirouter_torch.encoder.padding import tokens_per_batch
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ArtifactError
from unirouter_torch.shapes import Embedding, TokenMask
from unirouter_torch.storage import atomic_folder, check_folder, read_json, sha256_of, write_json

if TYPE_CHECKING:
    from unirouter_torch.encoder.transformer_encoder import TransformerEncoder

_KIND, _FORMAT_VERSION = "onnx encoder", 1
_GRAPH, _TOKENIZER, _SETTINGS = "encoder.onnx", "tokenizer.json", "encoder.json"
_INPUTS, _OUTPUT = ["input_ids", "attention_mask"], "sentence_embedding"
_ROUNDING = 1e-3
"""Largest difference of an entry of an embedding between two programs for the same float32 arithmetic."""


class OnnxEncoder(PromptEncoder):
    """A transformer encoder as a graph of ONNX Runtime, on the CPU; it cannot be trained.

    With ``onnx-int8`` the weights of all matrices are 8-bit integers, and what passes through them is rounded to such
    for each batch: embeddings move a little, also with the prompts that share a batch.

    Args:
        files: What :func:`open_onnx_encoder` has built.
        key: What tells it from every other one.
        backend: What runs it.
        load_original: Loads the transformer that it was made from.
        name: Where that came from.
        folder: The files of that.
        form: Surface features that are put beside the embedding; none where not given.
    """

    def __init__(
        self,
        files: Path,
        key: str,
        backend: Backend,
        load_original: "Callable[[], TransformerEncoder]",
        *,
        name: str,
        folder: Path,
        form: PromptForm | None,
    ) -> None:
        settings = read_json(files / _SETTINGS)
        super().__init__(EncoderRecipe(**settings["recipe"]), name=name, folder=folder, form=form)
        self.backend: Backend = backend
        self.tokenizer = Tokenizer.from_file(str(files / _TOKENIZER))
        self._cutting = Tokenizer.from_file(str(files / _TOKENIZER))
        self._cutting.enable_truncation(self.max_length)
        self._settings, self._key, self._load_original = settings, key, load_original
        self._session = open_session(files / _GRAPH)

    @property
    def text_dim(self) -> int:
        """Length of the embedding of the tokens."""
        dim: int = self._settings["text_dim"]
        return dim

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """What cuts text into tokens."""
        return self.tokenizer

    @property
    def pad_token(self) -> str | None:
        """Name of the token that padding is filled with."""
        token: str | None = self._settings["pad_token"]
        return token

    @property
    def filler(self) -> int:
        """The token that padding is filled with."""
        token: int = self._settings["filler"]
        return token

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @property
    def tokens_per_batch(self) -> int:
        """Tokens, padding included, that pass through the graph together."""
        return tokens_per_batch(self.device)

    def forward(self, input_ids: Int[Tensor, "prompt token"], attention_mask: TokenMask) -> Embedding:
        """Embeddings of tokenized prompts without their form; no gradient passes."""
        inputs = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        (embedding,) = self._session.run([_OUTPUT], inputs)
        return torch.from_numpy(embedding)

    def save_pretrained(self, folder: Path) -> None:
        """Write the transformer that this was made from, with which every backend can be built again.

        Args:
            folder: Where to; made where missing.
        """
        original = self._load_original()
        original.recipe, original.form = self.recipe, self.form
        original.save_pretrained(folder)

    def _token_ids(self, texts: list[str], limit: int | None) -> list[list[int]]:
        assert limit in (None, self.max_length)
        tokenizer = self.tokenizer if limit is None else self._cutting
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]

    def _num_added(self) -> tuple[int, int]:
        is_special = self.tokenizer.encode("a").special_tokens_mask
        before = is_special.index(0) if 0 in is_special else len(is_special)
        return before, is_special[::-1].index(0) if 0 in is_special else 0

    def _digest_of_weights(self) -> str:
        return self._key


def open_onnx_encoder(
    load_original: "Callable[[], TransformerEncoder]",
    backend: Backend,
    *,
    name: str,
    folder: Path,
    max_length: int | None,
    form: PromptForm | None,
    cache_dir: Path,
) -> OnnxEncoder:
    """An encoder on ONNX Runtime; the graph is built at the first call and kept, also for other processes.

    Args:
        load_original: Loads the transformer.
        backend: ``onnx`` or ``onnx-int8``.
        name: Where the transformer came from.
        folder: Its files.
        max_length: What ``load_original`` was asked for.
        form: Surface features.
        cache_dir: Where the graph is kept; made where missing.

    Raises:
        ConfigError: The packages of the extra ``onnx`` are missing.
        ArtifactError: The graph does something else than the transformer.
    """
    require_onnx(f"encoder.backend: got {backend}")
    facts = [sha256_of(folder), max_length, _FORMAT_VERSION]

    def key_of(kind: Backend) -> str:
        return digest_of([*facts, kind])

    exact = _built(cache_dir, key_of("onnx"), lambda target: _export(target, load_original()))
    key = key_of(backend)
    files = exact if backend == "onnx" else _built(cache_dir, key, lambda target: _round(exact, target))
    return OnnxEncoder(files, key, backend, load_original, name=name, folder=folder, form=form)


def _built(cache_dir: Path, key: str, build: Callable[[Path], None]) -> Path:
    """The folder of a graph, built where it is missing or damaged; other processes wait for it."""
    files = cache_dir / "onnx" / key
    files.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(files.with_name(f".{key}.lock")):
        try:
            check_folder(files, _KIND, _FORMAT_VERSION)
        except ArtifactError:
            shutil.rmtree(files, ignore_errors=True)
            with atomic_folder(files, _KIND, _FORMAT_VERSION) as target:
                build(target)
    return files


def _export(target: Path, encoder: "TransformerEncoder") -> None:
    # what ONNX Runtime has the fewest and fastest operators for
    encoder.network.set_attn_implementation("eager")
    tokenizer = Tokenizer.from_str(encoder.backend_tokenizer.to_str())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.save(str(target / _TOKENIZER))
    settings: dict[str, Any] = {"text_dim": encoder.text_dim, "pad_token": encoder.pad_token, "filler": encoder.filler}
    settings["recipe"] = asdict(encoder.recipe)
    write_json(target / _SETTINGS, settings)
    _write_graph(target / _GRAPH, encoder)
    _check_graph(target / _GRAPH, encoder)


def _round(exact: Path, target: Path) -> None:
    for name in (_TOKENIZER, _SETTINGS):
        shutil.copy(exact / name, target / name)
    round_weights(exact / _GRAPH, target / _GRAPH)


def _write_graph(path: Path, encoder: "TransformerEncoder") -> None:
    # a size of 0 or 1 would be taken for a constant
    tokens = torch.ones(2, 8, dtype=torch.int64)
    axes = {0: Dim("prompt"), 1: Dim("token", max=encoder.max_length)}
    shapes = dict.fromkeys(_INPUTS, axes)
    with torch.no_grad():
        program = torch.export.export(encoder, (tokens, tokens.clone()), dynamic_shapes=shapes, strict=False)
    write_onnx_program(path, program, inputs=_INPUTS, outputs=[_OUTPUT], dynamic_shapes=shapes)


def _check_graph(path: Path, encoder: "TransformerEncoder") -> None:
    tokens = encoder.tokenize(["What is 17 + 25?", "Who?", "Write a poem about the sea, and then one about rain."])
    with torch.inference_mode():
        expected = encoder(**tokens)
    found: Any = open_session(path).run([_OUTPUT], {name: value.numpy() for name, value in tokens.items()})[0]
    difference = (torch.from_numpy(found) - expected).abs().max().item()
    if not difference <= _ROUNDING * max(1.0, expected.abs().max().item()):
        raise ArtifactError(
            f"encoder.backend: embeddings of ONNX Runtime differ from those of {encoder.name} by up to "
            f"{difference:.2g}, expected at most {_ROUNDING:g}. Leave the backend out."
        )
