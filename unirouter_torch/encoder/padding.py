"""Prompts of different lengths as padded batches, and from one vector per token back to one vector per prompt.

Padding, on whichever side, never changes a result; a prompt without any token gets the zero vector.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn.functional import normalize as to_unit_length
from torch.nn.utils.rnn import pad_sequence

from unirouter_torch.shapes import Embedding, TokenEmbedding, TokenMask

PoolingMode = Literal["mean", "cls", "last_token", "max"]
"""How the tokens of a prompt become one vector."""

_TOKENS_ON_CPU = 1024
_TOKENS_ON_ACCELERATOR = 16384


def tokens_per_batch(device: torch.device) -> int:
    """Tokens, padding included, that pass through an encoder together: few stay in the caches of a CPU."""
    return _TOKENS_ON_CPU if device.type == "cpu" else _TOKENS_ON_ACCELERATOR


def pad_rows(rows: Sequence[Tensor], filler: int) -> tuple[Shaped[Tensor, "prompt token *dim"], TokenMask]:
    """One padded batch.

    Args:
        rows: ``[token]`` or ``[token dim]`` of each prompt.
        filler: What padding is filled with, on the right.

    Returns:
        The values, of at least one token, and 1 for a token of the prompt, 0 for padding.
    """
    lengths = torch.tensor([len(row) for row in rows])
    values = pad_sequence(list(rows) or [torch.empty(0).int()], batch_first=True, padding_value=filler)[: len(rows)]
    if values.shape[1] == 0:
        values = values.new_full((len(rows), 1, *values.shape[2:]), filler)
    return values, (torch.arange(values.shape[1]) < lengths.unsqueeze(1)).long()


def batches_by_length(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Positions in batches of similar length, the shortest first, so that little is padded; equal ones in order.

    Args:
        lengths: Length of each prompt [tokens].
        batch_size: Prompts in a batch, at least 1.
    """
    order = sorted(range(len(lengths)), key=lambda position: lengths[position])
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def batches_by_tokens(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Positions in batches of similar length that hold equally many tokens, padding included; equal ones in order.

    The longest come first, so that a lack of memory shows at once.

    Args:
        lengths: Length of each prompt [tokens].
        most_tokens: Tokens in a batch, unless a single prompt has more.
    """
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        # the first of a batch is its longest
        if not batches or (len(batches[-1]) + 1) * max(1, lengths[batches[-1][0]]) > most_tokens:
            batches.append([])
        batches[-1].append(position)
    return batches


def pool(mode: PoolingMode, token_embedding: TokenEmbedding, token_mask: TokenMask) -> Embedding:
    """Reduce the tokens of each prompt to one vector.

    Args:
        mode: ``"mean"``, ``"cls"`` (the first token), ``"last_token"`` or ``"max"`` (of each coordinate).
        token_embedding: One vector for each token.
        token_mask: 1 for a token of the prompt, 0 for padding.

    Returns:
        One vector for each prompt.
    """
    match mode:
        case "mean":
            return mean_pooling(token_embedding, token_mask)
        case "cls":
            return cls_pooling(token_embedding, token_mask)
        case "last_token":
            return last_token_pooling(token_embedding, token_mask)
        case "max":
            return max_pooling(token_embedding, token_mask)


def pool_and_normalize(
    mode: PoolingMode, token_embedding: TokenEmbedding, token_mask: TokenMask, *, normalize: bool
) -> Embedding:
    """As :func:`pool`, with vectors of length 1 where ``normalize`` asks for it."""
    embedding = pool(mode, token_embedding, token_mask)
    return to_unit_length(embedding, dim=-1) if normalize else embedding


def mean_pooling(token_embedding: TokenEmbedding, token_mask: TokenMask) -> Embedding:
    """Mean over the tokens of each prompt."""
    num_tokens = token_mask.sum(1, keepdim=True).clamp(min=1)
    return _without_padding(token_embedding, token_mask).sum(1) / num_tokens


def cls_pooling(token_embedding: TokenEmbedding, token_mask: TokenMask) -> Embedding:
    """The first token of each prompt, which BERT-like networks call ``[CLS]``."""
    last = token_mask.shape[1] - 1
    tokens_after = last - torch.arange(token_mask.shape[1], device=token_mask.device)
    return _token_at(last - (tokens_after * token_mask).amax(1), token_embedding, token_mask)


def last_token_pooling(token_embedding: TokenEmbedding, token_mask: TokenMask) -> Embedding:
    """The last token of each prompt: the only one of a decoder that has seen the whole prompt."""
    position = torch.arange(token_mask.shape[1], device=token_mask.device)
    return _token_at((position * token_mask).amax(1), token_embedding, token_mask)


def max_pooling(token_embedding: TokenEmbedding, token_mask: TokenMask) -> Embedding:
    """Largest value of each coordinate over the tokens of each prompt."""
    largest = token_embedding.masked_fill(token_mask.unsqueeze(-1) == 0, -torch.inf).amax(1)
    return largest.masked_fill(token_mask.sum(1, keepdim=True) == 0, 0)


def _without_padding(token_embedding: TokenEmbedding, token_mask: TokenMask) -> TokenEmbedding:
    # Not a product with the mask: a network may give NaN at padding.
    return token_embedding.masked_fill(token_mask.unsqueeze(-1) == 0, 0)


def _token_at(position: torch.Tensor, token_embedding: TokenEmbedding, token_mask: TokenMask) -> Embedding:
    prompt = torch.arange(position.shape[0], device=position.device)
    return _without_padding(token_embedding, token_mask)[prompt, position]
