"""From one vector per token to one vector per prompt.

Padding, on whichever side, never changes a result; a prompt without any token gets the zero vector.
"""

from typing import Literal

import torch
from torch.nn.functional import normalize as to_unit_length

from unirouter_torch.shapes import Embedding, TokenEmbedding, TokenMask

PoolingMode = Literal["mean", "cls", "last_token", "max"]
"""How the tokens of a prompt become one vector."""


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
