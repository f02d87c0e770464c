"""The output of an encoder's lower layers, computed once and kept on disk."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.encoder.embedding_cache import PART_SIZE
from unirouter_torch.encoder.layers import LowerLayers
from unirouter_torch.encoder.padding import batches_by_length, batches_by_tokens, pad_rows, tokens_per_batch
from unirouter_torch.encoder.tensor_cache import read_cached, write_cached
from unirouter_torch.encoder.transformer_encoder import TransformerEncoder
from unirouter_torch.progress import progress


def lower_layers_with_cache(
    encoder: TransformerEncoder,
    num_layers: int,
    texts: Sequence[str],
    *,
    cache_dir: Path,
    dtype: torch.dtype = torch.float16,
    show_progress: bool = False,
) -> list[Float[Tensor, "token dim"]]:
    """Token vectors below the last layers, read from disk where this encoder has seen the same prompts before.

    Prompts lie in parts of 256, each in one file of its own content's name: an interrupted computation goes on after
    its last whole part. A damaged file is made anew with a warning; where nothing can be written, the vectors are
    computed all the same, with a warning. Several processes may share the folder. On disk and in memory they take
    ``2 * dim`` bytes a token.

    Args:
        encoder: A frozen BERT-like encoder.
        num_layers: Layers above the cached output, at least 1.
        texts: Prompts.
        cache_dir: Folder of the cache; made where missing.
        dtype: How the vectors are kept; float16 rounds them to 11 binary digits.
        show_progress: Whether to draw a bar.

    Returns:
        One ``[token dim]`` for each prompt, in the given order, on the CPU.

    Raises:
        ConfigError: The network is not supported or has fewer layers.
    """
    lower = LowerLayers(encoder, num_layers).eval()
    tokens = encoder.tokenize_rows(texts)
    facts = f"{encoder.fingerprint_of_text()} below the last {num_layers} layers in {dtype}"
    hidden: list[Tensor] = [torch.empty(0, encoder.text_dim, dtype=dtype)] * len(texts)
    parts = batches_by_length([len(row) for row in tokens], PART_SIZE)[::-1]
    for part in progress(parts, f"Lower layers of {len(texts):,} prompts", enabled=show_progress):
        path = cache_dir / f"{_key(facts, [tokens[row] for row in part])}.layers.safetensors"
        lengths = [len(tokens[row]) for row in part]
        found = read_cached(path, "hidden", (sum(lengths), encoder.text_dim), dtype)
        if found is None:
            found = _compute(lower, [tokens[row] for row in part], encoder.filler).to(dtype)
            write_cached(path, "hidden", found)
        for row, vectors in zip(part, torch.split(found, lengths), strict=True):
            hidden[row] = vectors
    return hidden


def _key(facts: str, tokens: Sequence[Tensor]) -> str:
    digest = hashlib.sha256(facts.encode())
    for row in tokens:
        digest.update(f"{len(row)}:".encode() + row.numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def _compute(lower: LowerLayers, tokens: Sequence[Tensor], filler: int) -> Float[Tensor, "token dim"]:
    device = next(lower.parameters()).device
    vectors: list[Tensor] = [torch.empty(0)] * len(tokens)
    for batch in batches_by_tokens([len(row) for row in tokens], tokens_per_batch(device)):
        input_ids, mask = pad_rows([tokens[row] for row in batch], filler)
        output = lower(input_ids.long().to(device), mask.to(device)).cpu()
        for row, its_vectors in zip(batch, output, strict=True):
            vectors[row] = its_vectors[: len(tokens[row])].clone()
    return torch.cat(vectors)
