"""How sure the cost of a quality is: the deferral curve again and again over resampled test prompts."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.metrics.deferral import BREAKPOINT_TOLERANCE, QUALITY_TOLERANCE
from unirouter_torch.metrics.judged import Judged
from unirouter_torch.routing.envelope import lower_envelope

NUM_RESAMPLES = 1_000
RESAMPLES_AT_ONCE = 50


def resampled_cost_of_quality(
    judged: Judged, share: float, num_resamples: int = NUM_RESAMPLES
) -> Float[Tensor, " resample"]:
    """Least cost at which a router reaches a share of the best single LLM's quality, over resampled prompts.

    Prompts are drawn with replacement, as many as there are; the same ones for every method on the same prompts, so
    that methods can be compared resample by resample. The best single LLM is that of the whole, its quality that of the
    resample. Each resample has its exact deferral curve: a prompt drawn twice moves along its envelope twice.

    Args:
        judged: Estimates and outcomes.
        share: Of the best single LLM's quality, at least 0.
        num_resamples: How many.

    Returns:
        The costs as shares of the best single LLM's cost, in float64; infinite where the quality is not reached.
    """
    truth, best = judged.truth, judged.truth.best_single
    usable = truth.observed.any(-1).nonzero().squeeze(-1)
    by_cost = torch.argsort(truth.cost, stable=True)
    error, observed = (part[usable].index_select(1, by_cost) for part in (truth.error.double(), truth.observed))
    cost = truth.cost[by_cost].double()
    estimated = torch.where(observed, judged.estimated_error[usable].index_select(1, by_cost), math.inf)
    prompt, llm, weight, is_best = lower_envelope(estimated, cost)
    weight, order = weight.sort()
    moves = [
        (part - part.roll(-1).masked_fill(is_best, 0.0)).index_select(0, order)
        for part in (cost[llm], 1.0 - error[prompt, llm])
    ]
    prompt = prompt.index_select(0, order)
    points = torch.ones_like(prompt, dtype=torch.bool)
    points[:-1] = weight.diff() > BREAKPOINT_TOLERANCE * weight[1:]
    its_observed = truth.observed[usable, best.column].double()
    its_quality = (1.0 - truth.error[usable, best.column].double()).masked_fill(its_observed == 0, 0.0)

    found = []
    generator = torch.Generator().manual_seed(0)
    for start in range(0, num_resamples, RESAMPLES_AT_ONCE):
        size = (min(RESAMPLES_AT_ONCE, num_resamples - start), len(usable))
        drawn = torch.randint(len(usable), size, generator=generator)
        count = torch.zeros(size, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(size, dtype=torch.float64))
        of_move = count.index_select(1, prompt)
        at, quality = ((of_move * move).cumsum(1)[:, points].flip(1) / len(usable) for move in moves)
        target = share * (count @ its_quality) / (count @ its_observed)
        found.append(_least_cost(at, quality, target, mixes=truth.convention.interpolation == "linear"))
    least = torch.cat(found)
    # beside a best LLM that is free only what is free reaches it
    return least / best.cost if best.cost > 0 else torch.where(least == 0, least, math.inf)


def _least_cost(
    cost: Float[Tensor, "resample point"],
    quality: Float[Tensor, "resample point"],
    target: Float[Tensor, " resample"],
    *,
    mixes: bool,
) -> Float[Tensor, " resample"]:
    """As :func:`~unirouter_torch.metrics.deferral.quality_neutral_cost`, for many curves at once; costs rise."""
    reaches = quality >= target[:, None] - QUALITY_TOLERANCE
    first = reaches.to(torch.int8).argmax(1, keepdim=True)
    before = (first - 1).clamp(min=0)
    least = cost.gather(1, first)
    if mixes:
        gain = quality.gather(1, first) - quality.gather(1, before)
        part = torch.where(gain > 0, (target[:, None] - quality.gather(1, before)) / gain, 1.0).clamp(0.0, 1.0)
        least = torch.lerp(cost.gather(1, before), least, part)
    return torch.where(reaches.any(1), least.squeeze(1), math.inf)
