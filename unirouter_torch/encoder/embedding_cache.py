"""Embeddings of a frozen encoder, computed once and kept on disk."""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unirouter_torch.encoder.padding import batches_by_length
from unirouter_torch.encoder.prompt_encoder import PromptEncoder, check_texts, distinct_texts
from unirouter_torch.encoder.tensor_cache import read_cached, write_cached
from unirouter_torch.progress import progress
from unirouter_torch.shapes import Embedding

PART_SIZE = 256
"""Prompts in one part: what an interruption loses at most."""


def embed_with_cache(
    encoder: PromptEncoder, texts: Sequence[str], *, cache_dir: Path, show_progress: bool = True
) -> Embedding:
    """Embeddings of prompts, read from disk where this encoder has embedded the same prompts before.

    Equal prompts are embedded once; their form, which costs next to nothing, is computed each time. An interrupted run
    goes on after its last whole part of 256 prompts. A damaged file is made anew with a warning; where nothing can be
    written, the embeddings are computed all the same, with a warning. Several processes may share the folder.

    Args:
        encoder: The frozen encoder; another one, or other weights, are distinguished by its fingerprint.
        texts: Prompts.
        cache_dir: Folder of the cache; made where missing.
        show_progress: Whether to draw a bar.

    Returns:
        One vector for each prompt in the given order, on the CPU, in float32.

    Raises:
        DataError: ``texts`` is one string, or a prompt is no string.
    """
    check_texts(texts)
    if not texts:
        return encoder.embed(texts)
    distinct, position = distinct_texts(texts)
    contents = [text.encode(errors="surrogatepass") for text in distinct]
    embedding = _whole_or_parts(
        encoder,
        _key(encoder.fingerprint_of_text(), contents),
        len(distinct),
        lambda: encoder.tokenize_rows(distinct),
        cache_dir,
        f"Embedding {len(distinct):,} prompts" if show_progress else None,
    )
    return encoder.with_form(embedding, distinct)[position]


def embed_rows_with_cache(
    encoder: PromptEncoder, rows: Sequence[Int[Tensor, " _token"]], *, cache_dir: Path, what: str
) -> Float[Tensor, "_ text_dim"]:
    """The same for prompts that are tokens already, without their form.

    Args:
        encoder: The frozen encoder.
        rows: Tokens of each prompt, at least one prompt.
        cache_dir: Folder of the cache; made where missing.
        what: A few words before the bar.
    """
    key = _key(f"{encoder.fingerprint_of_text()} of tokens", [row.numpy().tobytes() for row in rows])
    return _whole_or_parts(encoder, key, len(rows), lambda: rows, cache_dir, what)


def _whole_or_parts(
    encoder: PromptEncoder,
    key: str,
    num_prompts: int,
    tokenize: Callable[[], Sequence[Tensor]],
    cache_dir: Path,
    what: str | None,
) -> Float[Tensor, "_ text_dim"]:
    whole, parts = cache_dir / f"{key}.safetensors", cache_dir / f"{key}.parts"
    embedding = read_cached(whole, "embedding", (num_prompts, encoder.text_dim), torch.float32)
    if embedding is None:
        tokens, facts = tokenize(), encoder.fingerprint_of_text()
        embedding = torch.empty(num_prompts, encoder.text_dim)
        # The longest come first, so that the estimate of time left only improves.
        split = batches_by_length([len(row) for row in tokens], PART_SIZE)[::-1]
        for rows in progress(split, what or "", enabled=what is not None):
            embedding[rows] = _embed_part(encoder, [tokens[row] for row in rows], facts, parts)
        write_cached(whole, "embedding", embedding)
        shutil.rmtree(parts, ignore_errors=True)
    return embedding


def _key(facts: str, contents: Sequence[bytes]) -> str:
    digest = hashlib.sha256(facts.encode())
    for content in contents:
        digest.update(f"{len(content)}:".encode() + content)
    return digest.hexdigest()


def _embed_part(encoder: PromptEncoder, tokens: Sequence[Tensor], facts: str, folder: Path) -> Embedding:
    path = folder / f"{_key(facts, [row.numpy().tobytes() for row in tokens])}.safetensors"
    embedding = read_cached(path, "embedding", (len(tokens), encoder.text_dim), torch.float32)
    if embedding is None:
        embedding = encoder.embed_rows(tokens)
        write_cached(path, "embedding", embedding)
    return embedding
