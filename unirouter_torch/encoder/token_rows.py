"""Prompts of different lengths, one tensor each, and their padded batches."""

from collections.abc import Sequence
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unirouter_torch.shapes import TokenMask

Ends = TypeVar("Ends", str, list[int])

_TOKENS_ON_CPU = 1024
_TOKENS_ON_ACCELERATOR = 16384


def tokens_per_batch(device: torch.device) -> int:
    """Tokens, padding included, that pass through an encoder together: few stay in the caches of a CPU."""
    return _TOKENS_ON_CPU if device.type == "cpu" else _TOKENS_ON_ACCELERATOR


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device; to CUDA from pinned memory, so that the CPU can go on with the next one."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def keep_ends(content: Ends, most: int, first: int) -> Ends:
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
