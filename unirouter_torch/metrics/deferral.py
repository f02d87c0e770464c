"""The deferral curve, exact: mean quality against mean cost for every cost weight, and the figures read off it."""

# over 300 lines: two fifths are docstrings, which define each figure exactly

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.errors import DataError, PoolError
from unirouter_torch.routing.envelope import Envelope, lower_envelope
from unirouter_torch.routing.token_cost import CostMatrix
from unirouter_torch.shapes import CostVector, ErrorMatrix, ObservedMatrix

PROMPTS_AT_ONCE = 4096
"""Prompts whose choices are traced together; bounds the memory and changes no result."""

BREAKPOINT_TOLERANCE = 1e-12
"""Cost weights that differ by a smaller fraction are one breakpoint, separated by rounding alone."""

QUALITY_TOLERANCE = 1e-12
"""Shortfall in mean quality that still counts as reaching the reference."""


class DeferralCurve(NamedTuple):
    """Mean cost and mean quality of the chosen LLMs as the cost weight rises from 0 to infinity.

    Attributes:
        cost_weight: Ascending from 0 [1 / unit of cost]; point ``i`` holds in ``[cost_weight[i], cost_weight[i + 1])``.
        cost: Mean cost of the chosen LLMs [unit of cost]; never rises.
        quality: Mean of 1 - error of the chosen LLMs, in [0, 1].
    """

    cost_weight: Float[Tensor, " point"]
    cost: Float[Tensor, " point"]
    quality: Float[Tensor, " point"]


DEFAULT_CONVENTION = CurveConvention()


def deferral_curve(
    estimated_error: ErrorMatrix, cost: CostVector, error: ErrorMatrix, available: ObservedMatrix | None = None
) -> DeferralCurve:
    """Route every prompt to the smallest ``estimated_error + cost_weight * cost``, for all cost weights at once.

    As the cost weight rises, a prompt moves along the lower envelope of one line for each LLM; the curve has a point
    for every breakpoint of every prompt. It is exact: no grid of cost weights is involved.

    Args:
        estimated_error: What the choice is made by.
        cost: Cost of one prompt for each LLM, at least 0 [any unit].
        error: What the choice is judged by, in [0, 1]; ignored where not available.
        available: Which LLMs may be chosen for which prompt, for example the observed pairs; all by default. Prompts
            without any are left out.

    Returns:
        The curve in float64. Equal sums go to the cheaper LLM, then to the lower column, so that at a breakpoint the
        cheaper LLM is chosen already.

    Raises:
        PoolError: A cost is negative or not finite.
        DataError: No prompt has an available LLM, or an error or estimate of an available pair is not finite.

    Source: UniRoute (arXiv:2502.08773) for the curve; the exact computation is this project's.
    """
    if available is None:
        available = torch.ones_like(error, dtype=torch.bool)
    _check(estimated_error, cost, error, available)
    # columns in order of cost: the first of equal minima is the cheapest, then the lowest column
    by_cost = torch.argsort(cost, stable=True)
    cost = cost[by_cost].double()
    traces = []
    for start in range(0, len(error), PROMPTS_AT_ONCE):
        prompts = slice(start, start + PROMPTS_AT_ONCE)
        estimated = torch.where(available[prompts], estimated_error[prompts], math.inf)
        traces.append(_trace_choices(estimated.index_select(1, by_cost), cost, error[prompts].index_select(1, by_cost)))
    moves = _Moves(*(torch.cat(parts) for parts in zip(*traces, strict=True)))
    return _add_up(moves, num_prompts=int(available.sum(-1).count_nonzero()))


def curve_of_choices(choices: Envelope, cost: CostMatrix, error: ErrorMatrix) -> DeferralCurve:
    """The curve of choices that are worked out already, where what an LLM costs may depend on the prompt.

    Args:
        choices: The LLM of each prompt for all cost weights.
        cost: What each LLM costs on each prompt [any unit].
        error: What the choices are judged by, in [0, 1].
    """
    prompt, llm, cost_weight, is_best = choices
    return _add_up(_moves(cost_weight, is_best, cost[prompt, llm], error[prompt, llm]), int(is_best.sum()))


class _Moves(NamedTuple):
    """Changes of the summed cost and error of the chosen LLMs, each at a cost weight; those at 0 give the start."""

    cost_weight: Float[Tensor, " move"]
    cost: Float[Tensor, " move"]
    error: Float[Tensor, " move"]


def _trace_choices(estimated: ErrorMatrix, cost: CostVector, error: ErrorMatrix) -> _Moves:
    """Follow each prompt along its LLMs, from its best to its cheapest.

    Columns are in order of cost; an estimate is infinite where the LLM is not available.
    """
    prompt, llm, cost_weight, is_best = lower_envelope(estimated, cost)
    return _moves(cost_weight, is_best, cost[llm], error[prompt, llm])


def _moves(
    cost_weight: Float[Tensor, " line"],
    is_best: Bool[Tensor, " line"],
    cost: Float[Tensor, " line"],
    error: Float[Tensor, " line"],
) -> _Moves:
    changes = (part - part.roll(-1).masked_fill(is_best, 0.0) for part in (cost.double(), error.double()))
    return _Moves(cost_weight, *changes)


def _add_up(moves: _Moves, num_prompts: int) -> DeferralCurve:
    cost_weight, order = moves.cost_weight.sort()
    is_last = torch.ones_like(order, dtype=torch.bool)
    is_last[:-1] = cost_weight.diff() > BREAKPOINT_TOLERANCE * cost_weight[1:]
    last = is_last.nonzero().squeeze(-1)
    cost, error = (part.index_select(0, order).cumsum(0).index_select(0, last) for part in (moves.cost, moves.error))
    return DeferralCurve(
        cost_weight=cost_weight.index_select(0, last), cost=cost / num_prompts, quality=1.0 - error / num_prompts
    )


def _check(estimated_error: ErrorMatrix, cost: CostVector, error: ErrorMatrix, available: ObservedMatrix) -> None:
    if not (torch.isfinite(cost) & (cost >= 0)).all():
        raise PoolError(
            f"cost: expected finite numbers of at least 0, got {cost.tolist()}. Correct the costs of the pool."
        )
    if not available.any():
        raise DataError("available: no prompt has an LLM with an outcome, so nothing can be routed. Use other prompts.")
    for name, matrix in (("estimated_error", estimated_error), ("error", error)):
        # the extremes show at a third of the cost of a look at every pair whether one is not finite
        if not all(map(math.isfinite, torch.where(available, matrix, 0.0).aminmax())):
            row, column = (available & ~torch.isfinite(matrix)).nonzero()[0].tolist()
            raise DataError(
                f"{name}: row {row}, column {column}: expected a finite number for an available pair, "
                f"got {float(matrix[row, column])}. Mend it, or mark the pair as not available."
            )


def relative_cost(
    value: Float[Tensor, " point"], cost: CostVector, convention: CurveConvention = DEFAULT_CONVENTION
) -> Float[Tensor, " point"]:
    """Costs on the axis of the convention.

    Args:
        value: Costs to convert [unit of ``cost``].
        cost: Cost of each LLM of the pool.
        convention: Its ``cost_axis`` decides.

    Returns:
        ``value / max(cost)``, or ``(value - min(cost)) / (max(cost) - min(cost))``; 0 where the divisor would be 0.
    """
    cost = cost.double()
    origin = float(cost.min()) if convention.cost_axis == "range" else 0.0
    span = float(cost.max()) - origin
    return (value.double() - origin) / (span if span > 0 else 1.0)


def area_under_deferral_curve(
    curve: DeferralCurve, cost: CostVector, convention: CurveConvention = DEFAULT_CONVENTION, up_to: float = 1.0
) -> float:
    """Integral of quality over relative cost from 0 to ``up_to``; higher is better.

    Between two points quality is linear, or that of the cheaper one (``interpolation``); left of the cheapest point it
    holds, or is 0 (``left``); right of the most expensive point it holds.

    Args:
        curve: Deferral curve of a router.
        cost: Cost of each LLM of the pool.
        convention: How the curve is read.
        up_to: Largest relative cost, in (0, 1]. The area is not rescaled: it lies in [0, ``up_to``].

    Returns:
        The area.

    Source: UniRoute (arXiv:2502.08773), area and area (50%).
    """
    at = relative_cost(curve.cost, cost, convention).flip(0)
    quality = curve.quality.flip(0)
    at = torch.cat([at, at[-1:].clamp(min=up_to)])
    quality = torch.cat([quality, quality[-1:]])
    width = at.clamp(max=up_to).diff()
    if convention.interpolation == "linear":
        length = at.diff()
        slope = torch.where(length > 0, quality.diff() / length, 0.0)
    else:
        slope = torch.zeros_like(width)
    area = (width * (quality[:-1] + slope * width / 2)).sum()
    if convention.left == "hold":
        area = area + quality[0] * at[0].clamp(max=up_to)
    return float(area)


def quality_neutral_cost(
    curve: DeferralCurve,
    cost: CostVector,
    reference_quality: float,
    convention: CurveConvention = DEFAULT_CONVENTION,
) -> float | None:
    """Least relative cost at which the router is as good as a reference; lower is better.

    Args:
        curve: Deferral curve of a router.
        cost: Cost of each LLM of the pool.
        reference_quality: Quality to reach, commonly that of the most accurate single LLM, in [0, 1]; a shortfall of
            1e-12 counts as reached.
        convention: How the curve is read; ``left`` plays no part, for no router is cheaper than its cheapest point.

    Returns:
        The relative cost, or None when the curve never reaches the reference.

    Source: UniRoute (arXiv:2502.08773), QNC.
    """
    at = relative_cost(curve.cost, cost, convention).flip(0)
    quality = curve.quality.flip(0)
    reaching = (quality >= reference_quality - QUALITY_TOLERANCE).nonzero()
    if len(reaching) == 0:
        return None
    first = int(reaching[0])
    if first == 0 or convention.interpolation == "step":
        return float(at[first])
    share = (reference_quality - quality[first - 1]) / (quality[first] - quality[first - 1])
    return float(torch.lerp(at[first - 1], at[first], share.clamp(max=1.0)))


class QualityReading(NamedTuple):
    """A deferral curve at some costs.

    Attributes:
        quality: As read; that of the cheapest point where ``is_left_of_all``.
        point: The point at the cost, or the next cheaper one; the first where ``is_left_of_all``.
        is_left_of_all: Whether even the cheapest point costs more.
    """

    quality: Float[Tensor, " place"]
    point: Int[Tensor, " place"]
    is_left_of_all: Bool[Tensor, " place"]


def read_quality(
    at: Float[Tensor, " point"],
    quality: Float[Tensor, " point"],
    where: Float[Tensor, " place"],
    interpolation: Literal["linear", "step"],
) -> QualityReading:
    """Quality at some costs; right of the last point its quality holds.

    Args:
        at: Costs of the points of a curve, rising; of points of one cost the last counts.
        quality: Their qualities.
        where: Costs to read the curve at, on the same axis.
        interpolation: Between two points: a mixture of the two, or the cheaper one.
    """
    above = torch.searchsorted(at, where, right=True)
    is_left_of_all = above == 0
    below, above = (above - 1).clamp(min=0), above.clamp(max=len(at) - 1)
    found = quality[below]
    if interpolation == "linear":
        width = at[above] - at[below]
        found = torch.lerp(found, quality[above], torch.where(width > 0, (where - at[below]) / width, 0.0))
    return QualityReading(torch.where(is_left_of_all, quality[0], found), below, is_left_of_all)


def peak_accuracy(curve: DeferralCurve) -> float:
    """Highest mean quality on the curve, in [0, 1].

    Source: UniRoute (arXiv:2502.08773).
    """
    return float(curve.quality.max())


def single_llm_quality(error: ErrorMatrix, observed: ObservedMatrix) -> Float[Tensor, " llm"]:
    """Mean quality of each LLM over the prompts on which it was observed, in float64; NaN where there are none."""
    total = torch.where(observed, error, 0.0).sum(0, dtype=torch.float64)
    return 1.0 - total / observed.sum(0)


def quality_of_competing(
    error: ErrorMatrix, observed: ObservedMatrix, min_coverage: float = 0.9
) -> Float[Tensor, " llm"]:
    """Mean quality of each LLM that may be called the best single one; -inf for the others.

    An LLM that misses a block of prompts may have met only easy ones, so its mean does not compare with the others'.

    Args:
        error: Observed errors in [0, 1]; ignored where not observed.
        observed: Which pairs were observed; prompts without any do not count.
        min_coverage: Least fraction of prompts on which an LLM must be observed, in [0, 1]. If no LLM reaches it, those
            of the largest coverage compete.

    Returns:
        The qualities; the largest is the reference of the quality-neutral cost.

    Raises:
        DataError: No pair was observed.
    """
    if not observed.any():
        raise DataError("observed: no outcome of any LLM, so there is no best one. Use other prompts.")
    coverage = observed.sum(0) / observed.any(-1).sum()
    competes = coverage >= min(min_coverage, float(coverage.max()))
    return torch.where(competes, single_llm_quality(error, observed), -math.inf)
