"""Embeddings of a frozen encoder, computed once and kept on disk."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from unirouter_torch.encoder.prompt_encoder import PromptEncoder, check_texts
from unirouter_torch.encoder.tensor_cache import read_cached, write_cached
from unirouter_torch.encoder.token_rows import batches_by_length, distinct_texts
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
    distinct, position = distinct_texts(texts)
    facts = encoder.fingerprint_of_text()
    key = _key(facts, [text.encode(errors="surrogatepass") for text in distinct])
    whole, parts = cache_dir / f"{key}.safetensors", cache_dir / f"{key}.parts"
    embedding = read_cached(whole, "embedding", (len(distinct), encoder.text_dim), torch.float32)
    if embedding is None:
        tokens = encoder.tokenize_rows(distinct)
        embedding = torch.empty(len(distinct), encoder.text_dim)
        # The longest come first, so that the estimate of time left only improves.
        split = batches_by_length([len(row) for row in tokens], PART_SIZE)[::-1]
        for rows in progress(split, f"Embedding {len(distinct):,} prompts", enabled=show_progress):
            embedding[rows] = _embed_part(encoder, [tokens[row] for row in rows], facts, parts)
        write_cached(whole, "embedding", embedding)
        shutil.rmtree(parts, ignore_errors=True)
    return encoder.with_form(embedding, distinct)[position]


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
