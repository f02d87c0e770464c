"""Which prompts and LLMs a router is trained, chosen and tested on."""

import hashlib
import warnings
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from unirouter_torch.config.checks import at_least, fraction
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.errors import ConfigError, DataError
from unirouter_torch.shapes import LLMSubset, PromptSubset


class Split(NamedTuple):
    """Row and column numbers of a routing table, each rising."""

    train_prompts: PromptSubset
    """Prompts to train on."""
    validation_prompts: PromptSubset
    """Prompts to choose on, and to draw calibration prompts from."""
    test_prompts: PromptSubset
    """Prompts for the final figures."""
    seen_llms: LLMSubset
    """LLMs that training uses."""
    unseen_llms: LLMSubset
    """LLMs first met afterwards; the seen LLMs themselves in a static pool."""

    @property
    def is_of_seen_llms(self) -> bool:
        """Whether the pool holds seen LLMs alone, as where none is kept from training."""
        return torch.equal(self.seen_llms, self.unseen_llms)

    def describe(self) -> dict[str, int]:
        """Sizes for reports."""
        return {f"num_{name}": len(rows) for name, rows in self._asdict().items()}


def split_table(
    table: RoutingTable,
    *,
    seed: int,
    unseen_fraction: float,
    prompt_fractions: tuple[float, float, float] = (0.6, 0.1, 0.3),
) -> Split:
    """Split prompts and LLMs at random, by the table's content and the seed alone.

    Prompts with the same text fall on the same side, so repeated texts can move the sizes a little; LLMs of one group
    are never separated, so fewer LLMs than asked can be unseen, but never more.

    Args:
        table: The table to split.
        seed: Another seed gives another split.
        unseen_fraction: Share of the LLMs to keep from training, in [0, 1), rounded to whole LLMs. 0 is the paper's
            static pool: all LLMs are both seen and unseen.
        prompt_fractions: Shares of the training, validation and test prompts, positive, with the sum 1.

    Returns:
        The split; the three sets of prompts are disjoint and cover the table.

    Raises:
        ConfigError: A fraction is out of range.
        DataError: The table is too small: no prompt for a side, no unseen LLM, or fewer than two seen LLMs.

    Source: UniRoute (arXiv:2502.08773), experiments: prompts 60/10/30 and LLMs split into seen and unseen.
    """
    fraction("unseen_fraction", unseen_fraction)
    if min(prompt_fractions) <= 0 or abs(sum(prompt_fractions) - 1) > 1e-6:
        raise ConfigError(f"prompt_fractions: got {prompt_fractions}, expected three positive numbers of sum 1.")
    generator = _generator(f"{table.content_hash}:{seed}")
    train, validation, test = _split_prompts(table, prompt_fractions, generator)
    seen, unseen = _split_llms(table, unseen_fraction, generator)
    return Split(train, validation, test, seen, unseen)


def require_outcomes(table: RoutingTable, split: Split, *, num_calibration: int, seed: int) -> None:
    """Refuse a split of which a part has no outcome, which is known before anything is embedded.

    Args:
        table: The table that was split.
        split: The split.
        num_calibration: How many validation prompts represent an unseen LLM.
        seed: Seed of their draw, and for the message.

    Raises:
        DataError: The seen LLMs have no outcome on the training or validation prompts, or the unseen ones none on the
            calibration or test prompts.
    """
    calibration = prompts_that_represent(split, num_calibration=num_calibration, seed=seed)
    parts = (
        ("seen", "training", split.seen_llms, split.train_prompts),
        ("seen", "validation", split.seen_llms, split.validation_prompts),
        ("unseen", "calibration", split.unseen_llms, calibration),
        ("unseen", "test", split.unseen_llms, split.test_prompts),
    )
    for llms, prompts, columns, rows in parts:
        if not table.observed[rows][:, columns].any():
            raise DataError(
                f"{table.name}: with seed {seed} the {llms} LLMs have no outcome on the {prompts} prompts. Add "
                "outcomes, change data.unseen_fraction, or try another seed."
            )


def warn_of_pool_of_one(table: RoutingTable, split: Split) -> None:
    """Warn where the evaluation has a single LLM, so that every method chooses the same."""
    if len(split.unseen_llms) == 1:
        warnings.warn(
            f"{table.name}: of {table.num_llms} LLMs 1 is unseen, so the evaluation has nothing to choose from and all "
            "methods have the same area. Set data.unseen_fraction to 0 to evaluate on all LLMs, or higher.",
            stacklevel=1,
        )


def prompts_that_represent(split: Split, *, num_calibration: int, seed: int) -> PromptSubset:
    """The prompts by whose outcomes the LLMs of the evaluated pool are known.

    In a pool of seen LLMs these are all training and validation prompts: what was paid for there is known when such a
    pool is used. An unseen LLM has answered calibration prompts alone. Outcomes of test prompts never count.

    Args:
        split: Where the prompts and LLMs are.
        num_calibration: How many validation prompts represent an unseen LLM, at least 1.
        seed: Seed of their draw.

    Returns:
        Rising row numbers.

    Raises:
        ConfigError: ``num_calibration`` is less than 1.
    """
    if split.is_of_seen_llms:
        return torch.cat([split.train_prompts, split.validation_prompts]).sort().values
    return draw_calibration(split, num_prompts=num_calibration, seed=seed)


def draw_calibration(split: Split, *, num_prompts: int, seed: int) -> PromptSubset:
    """Draw validation prompts at random to represent LLMs.

    At one seed a smaller draw is part of every larger one.

    Args:
        split: Where the validation prompts are.
        num_prompts: How many, at least 1; all validation prompts if there are fewer.
        seed: Another seed gives another draw.

    Returns:
        Rising row numbers of the drawn prompts.

    Raises:
        ConfigError: ``num_prompts`` is less than 1.
    """
    at_least("num_prompts", num_prompts, 1)
    pool = split.validation_prompts
    order = torch.randperm(len(pool), generator=_generator(f"calibration:{seed}"))
    return pool[order[:num_prompts]].sort().values


def _generator(key: str) -> torch.Generator:
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _split_prompts(
    table: RoutingTable, fractions: tuple[float, float, float], generator: torch.Generator
) -> list[Int[Tensor, " side"]]:
    text = torch.tensor(table.prompts["prompt"].combine_chunks().dictionary_encode().indices.to_numpy()).long()
    size = text.bincount()
    order = torch.randperm(len(size), generator=generator)
    begin = torch.empty_like(size)
    begin[order] = size[order].cumsum(0) - size[order]
    end_of_train = round(fractions[0] * table.num_prompts)
    end_of_validation = end_of_train + round(fractions[1] * table.num_prompts)
    side = ((begin >= end_of_train).int() + (begin >= end_of_validation).int())[text]
    parts = [(side == number).nonzero().squeeze(1) for number in range(3)]
    if not all(len(part) for part in parts):
        sizes = "/".join(str(len(part)) for part in parts)
        raise DataError(
            f"{table.name}: {table.num_prompts} prompts with {len(size)} different texts split into {sizes} for "
            "training/validation/test, expected at least one in each. Add prompts."
        )
    return parts


def _split_llms(
    table: RoutingTable, unseen_fraction: float, generator: torch.Generator
) -> tuple[Int[Tensor, " seen"], Int[Tensor, " unseen"]]:
    if unseen_fraction == 0:
        everyone = torch.arange(table.num_llms)
        return everyone, everyone
    wanted = round(unseen_fraction * table.num_llms)
    is_unseen = torch.zeros(table.num_llms, dtype=torch.bool)
    for group in torch.randperm(int(table.group.max()) + 1, generator=generator):
        members = table.group == group
        if is_unseen.sum() + members.sum() <= wanted:
            is_unseen |= members
    seen, unseen = (~is_unseen).nonzero().squeeze(1), is_unseen.nonzero().squeeze(1)
    if len(seen) < 2 or len(unseen) < 1:
        sides = f"{len(seen)} seen and {len(unseen)} unseen"
        raise DataError(
            f"{table.name}: {table.num_llms} LLMs in {int(table.group.max()) + 1} groups split into {sides} LLMs, "
            "expected at least 2 and 1. Add LLMs, change data.unseen_fraction, or set it to 0."
        )
    return seen, unseen
