"""Embeddings of a frozen encoder, computed once and kept on disk."""

import hashlib
import os
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from unirouter_torch.errors import ArtifactError
from unirouter_torch.modeling.encoder import PromptEncoder, check_texts
from unirouter_torch.progress import progress
from unirouter_torch.shapes import Embedding
from unirouter_torch.storage import read_tensors, write_tensors

PART_SIZE = 256
"""Prompts in one part: what an interruption loses at most."""


def default_cache_dir() -> Path:
    """``unirouter_torch`` in the user's cache folder: ``$XDG_CACHE_HOME``, or ``~/.cache`` where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unirouter_torch"


def embed_with_cache(
    encoder: PromptEncoder, texts: Sequence[str], *, cache_dir: Path, show_progress: bool = True
) -> Embedding:
    """Embeddings of prompts, read from disk where this encoder has embedded the same prompts before.

    An interrupted run goes on after its last whole part of 256 prompts. A damaged file is made anew with a warning;
    where nothing can be written, the embeddings are computed all the same, with a warning. Several processes may share
    the folder.

    Args:
        encoder: The frozen encoder; another one, or other weights, are told apart by its fingerprint.
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
    key = _key(encoder, texts)
    whole, parts = cache_dir / f"{key}.safetensors", cache_dir / f"{key}.parts"
    embedding = _read(whole, len(texts), encoder.dim)
    if embedding is None:
        # Longest first, so that prompts of a part are of similar length and the estimate of time left only improves.
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        starts = range(0, len(texts), PART_SIZE)
        embedding = torch.empty(len(texts), encoder.dim)
        for start in progress(starts, f"Embedding {len(texts):,} prompts", enabled=show_progress):
            rows = order[start : start + PART_SIZE]
            embedding[rows] = _embed_part(encoder, [texts[row] for row in rows], parts / f"{start}.safetensors")
        _write(whole, embedding)
        shutil.rmtree(parts, ignore_errors=True)
    return embedding


def _key(encoder: PromptEncoder, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(encoder.fingerprint().encode())
    for text in texts:
        content = text.encode(errors="surrogatepass")
        digest.update(f"{len(content)}:".encode() + content)
    return digest.hexdigest()


def _embed_part(encoder: PromptEncoder, texts: Sequence[str], path: Path) -> Embedding:
    embedding = _read(path, len(texts), encoder.dim)
    if embedding is None:
        embedding = encoder.embed(texts)
        _write(path, embedding)
    return embedding


def _read(path: Path, num_prompts: int, dim: int) -> Embedding | None:
    try:
        if not path.exists():
            return None
        embedding = read_tensors(path).get("embedding")
    except (ArtifactError, OSError) as error:
        warnings.warn(f"cached embeddings are computed anew: {error}", stacklevel=2)
        return None
    if embedding is None or embedding.shape != (num_prompts, dim) or embedding.dtype != torch.float32:
        warnings.warn(f"{path}: expected {num_prompts} embeddings of length {dim}; computing them anew.", stacklevel=2)
        return None
    return embedding


def _write(path: Path, embedding: Embedding) -> None:
    try:
        write_tensors(path, {"embedding": embedding})
    except OSError as error:
        warnings.warn(
            f"{path.parent}: cannot be written ({error.strerror}); going on without the cache of embeddings. "
            "Choose another cache folder.",
            stacklevel=2,
        )
