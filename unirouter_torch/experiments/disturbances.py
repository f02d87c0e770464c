"""What a stress test disturbs, as functions of outcomes, splits and texts; the same seed disturbs the same things."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unirouter_torch.data.splits import Split
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import ObservedMatrix, PromptSource

MIN_TEST_PROMPTS_OF_A_SOURCE = 20
TYPO_RATE = 0.05
GREETING = "Good morning! I hope you are well and that the sun is out where you are."
THANKS = "Thank you so much for your patience, there is no hurry at all. Have a pleasant week!"


def draw_pairs(candidates: ObservedMatrix, number: int, seed: int) -> ObservedMatrix:
    """Mark some of the candidate pairs, drawn at random; at one seed a smaller draw is part of every larger one.

    Args:
        candidates: Pairs that may be drawn.
        number: How many, at least 0; all candidates if there are fewer.
        seed: Another seed gives another draw.
    """
    places = candidates.flatten().nonzero().squeeze(-1)
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))
    drawn = torch.zeros(candidates.numel(), dtype=torch.bool)
    drawn[places[order[:number]]] = True
    return drawn.view_as(candidates)


def spare_one_for_each_llm(observed: ObservedMatrix, seed: int) -> ObservedMatrix:
    """The observed pairs without one of each LLM, drawn at random: those that may go missing."""
    order = torch.rand(observed.shape, generator=torch.Generator().manual_seed(seed)).masked_fill(~observed, -1.0)
    spared = torch.zeros_like(observed).scatter_(0, order.argmax(0, keepdim=True), True)
    return observed & ~spared


def flip_outcomes(outcomes: Outcomes, pairs: ObservedMatrix) -> Outcomes:
    """The same outcomes with ``1 - error`` for some pairs; flipping the same pairs again restores them."""
    return outcomes._replace(error=torch.where(pairs, 1.0 - outcomes.error, outcomes.error))


def drop_outcomes(outcomes: Outcomes, pairs: ObservedMatrix) -> Outcomes:
    """The same outcomes with some pairs not observed."""
    return outcomes._replace(observed=outcomes.observed & ~pairs)


def share_of(observed: ObservedMatrix, share: float) -> int:
    """A share in [0, 1] of the observed pairs, rounded to whole pairs."""
    return round(share * int(observed.sum()))


def draw_prompts(prompts: Int[Tensor, " pool"], number: int, generator: torch.Generator) -> Int[Tensor, " drawn"]:
    """Some of the prompts in rising order, drawn at random without repeats; all of them if there are no more."""
    return prompts[torch.randperm(len(prompts), generator=generator)[:number]].sort().values


def choose_source(test_source: Int[Tensor, " test"], seed: int) -> int | None:
    """The source to leave out at a seed: seeds in a row go through all sources with at least 20 test prompts.

    Args:
        test_source: Number of the source of each test prompt.
        seed: At least 0.

    Returns:
        Number of the source; None where no source is large enough or there is only one.
    """
    numbers, counts = torch.unique(test_source, return_counts=True)
    large = numbers[counts >= MIN_TEST_PROMPTS_OF_A_SOURCE]
    return int(large[seed % len(large)]) if len(large) > 0 and len(numbers) > 1 else None


def leave_out_source(split: Split, source: PromptSource, left_out: int) -> Split:
    """The split without the training and validation prompts of one source.

    Args:
        split: Test prompts and LLMs stay as they are.
        source: Number of the source of each prompt of the table.
        left_out: Number of the source to leave out.
    """
    return split._replace(
        train_prompts=split.train_prompts[source[split.train_prompts] != left_out],
        validation_prompts=split.validation_prompts[source[split.validation_prompts] != left_out],
    )


def thin_split(split: Split, like: Split, seed: int) -> Split:
    """The split with as few training and validation prompts as another one has, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    return split._replace(
        train_prompts=draw_prompts(split.train_prompts, len(like.train_prompts), generator),
        validation_prompts=draw_prompts(split.validation_prompts, len(like.validation_prompts), generator),
    )


def keep_half_of_sources(split: Split, source: PromptSource, seed: int) -> Split | None:
    """The split with the validation prompts of half of their sources, drawn at random, rounded down, at least one.

    Args:
        split: Everything but the validation prompts stays as it is.
        source: Number of the source of each prompt of the table.
        seed: Another seed draws other sources.

    Returns:
        The split; None where all validation prompts are of one source.
    """
    numbers = torch.unique(source[split.validation_prompts])
    if len(numbers) < 2:
        return None
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed))
    is_kept = torch.isin(source[split.validation_prompts], numbers[order[: len(numbers) // 2]])
    return split._replace(validation_prompts=split.validation_prompts[is_kept])


def with_typos(text: str, generator: torch.Generator) -> str:
    """About one character in 20 is left out or swapped with the next one, each as often; the last one is never swapped.

    Args:
        text: A prompt.
        generator: Where the typos come from.
    """
    draws = torch.rand(len(text), generator=generator).tolist()
    typed, at = [], 0
    while at < len(text):
        if draws[at] < TYPO_RATE / 2:
            at += 1
        elif draws[at] < TYPO_RATE and at + 1 < len(text):
            typed += [text[at + 1], text[at]]
            at += 2
        else:
            typed.append(text[at])
            at += 1
    return "".join(typed)


DISTURBANCES: dict[str, Callable[[str, torch.Generator], str]] = {
    "typos": with_typos,
    "upper case": lambda text, _: text.upper(),
    "padding": lambda text, _: f"{GREETING} {text} {THANKS}",
    "first half": lambda text, _: text[: math.ceil(len(text) / 2)],
}
"""What is done to test prompts, by the name of the level."""


def disturb_texts(texts: Sequence[str], disturbance: str, seed: int) -> list[str]:
    """The prompts after one of ``DISTURBANCES``."""
    generator = torch.Generator().manual_seed(seed)
    return [DISTURBANCES[disturbance](text, generator) for text in texts]


def instability(estimates: Float[Tensor, "draw prompt llm"], observed: ObservedMatrix) -> float:
    """Standard deviation (unbiased variance) of each estimated error over draws, mean over the observed pairs.

    Args:
        estimates: Estimated errors from each of at least 2 draws of the calibration prompts.
        observed: Which pairs of test prompt and LLM count.
    """
    return float(estimates.double().std(0)[observed].mean())
