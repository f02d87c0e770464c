"""Prompts of different lengths, one tensor each, and their padded batches."""

from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unirouter_torch.modeling.encoder import PromptEncoder
from unirouter_torch.shapes import TokenMask

_TOKENIZED_AT_ONCE = 256


def tokenize_rows(encoder: PromptEncoder, texts: Sequence[str]) -> list[Tensor]:
    """The tokens of each prompt, without padding.

    Args:
        encoder: Whose tokenizer cuts the prompts.
        texts: Prompts.

    Returns:
        One ``[token]`` of int32 for each prompt, at most ``encoder.max_length`` long; empty where there is no token.
    """
    rows: list[Tensor] = []
    for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
        tokens = encoder.tokenize(texts[start : start + _TOKENIZED_AT_ONCE])
        lengths = tokens["attention_mask"].sum(1).tolist()
        rows += [ids[:length].int() for ids, length in zip(tokens["input_ids"], lengths, strict=True)]
    return rows


def pad_rows(rows: Sequence[Tensor], filler: int) -> tuple[Shaped[Tensor, "prompt token *dim"], TokenMask]:
    """One padded batch.

    Args:
        rows: ``[token]`` or ``[token dim]`` of each prompt, at least one prompt.
        filler: What padding is filled with, on the right.

    Returns:
        The values, of at least one token, and 1 for a token of the prompt, 0 for padding.
    """
    lengths = torch.tensor([len(row) for row in rows])
    values = pad_sequence(list(rows), batch_first=True, padding_value=filler)
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
