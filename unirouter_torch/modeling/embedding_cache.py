"""Embeddings of a frozen encoder, computed once and kept on disk."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from unirouter_torch.modeling.encoder import PromptEncoder, check_texts
from unirouter_torch.modeling.tensor_cache import read_cached, write_cached
from unirouter_torch.progress import progress
from unirouter_torch.shapes import Embedding

PART_SIZE = 256
"""Prompts in one part: what an interruption loses at most."""


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
    embedding = read_cached(whole, "embedding", (len(texts), encoder.dim), torch.float32)
    if embedding is None:
        # Longest first, so that prompts of a part are of similar length and the estimate of time left only improves.
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        starts = range(0, len(texts), PART_SIZE)
        embedding = torch.empty(len(texts), encoder.dim)
        for start in progress(starts, f"Embedding {len(texts):,} prompts", enabled=show_progress):
            rows = order[start : start + PART_SIZE]
            embedding[rows] = _embed_part(encoder, [texts[row] for row in rows], parts / f"{start}.safetensors")
        write_cached(whole, "embedding", embedding)
        shutil.rmtree(parts, ignore_errors=True)
    return embedding


def _key(encoder: PromptEncoder, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(encoder.fingerprint().encode())
    for text in texts:
        content = text.encode(errors="surrogatepass")
        digest.update(f"{len(content)}:".encode() + content)
    return digest.hexdigest()


def _embed_part(encoder: PromptEncoder, texts: Sequence[str], path: Path) -> Embedding:
    embedding = read_cached(path, "embedding", (len(texts), encoder.dim), torch.float32)
    if embedding is None:
        embedding = encoder.embed(texts)
        write_cached(path, "embedding", embedding)
    return embedding
