"""From what a user wants to the cost weight that gives it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.decision import least_total, order_by_cost, tie_tolerance
from unirouter_torch.routing.token_cost import CostMatrix
from unirouter_torch.shapes import ErrorMatrix, LLMSubset

TargetKind = Literal["cost", "quality", "saving"]

_GREATEST_WEIGHT = 2.0**40
_PRECISION = 1e-9
_TIE = tie_tolerance(torch.float32)
_ROUNDING = 0.25


def check_latency_weight(latency_weight: float) -> None:
    """Refuse a latency weight that is negative or not finite.

    Raises:
        PoolError: It is.
    """
    if not 0 <= latency_weight < float("inf"):
        raise PoolError(f"latency_weight: got {latency_weight}, expected a finite number of at least 0.")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What routing shall give on average over prompts such as the calibration prompts.

    Attributes:
        kind: ``cost``: the best quality at a mean cost of at most ``value`` [cost unit]. ``quality``: the least cost
            at a mean quality of at least ``value``. ``saving``: the best quality at a saving of at least ``value``, in
            [0, 1), against the best single LLM for all prompts.
        value: How much.
        latency_weight: What a second costs [cost unit / second]: the costs that are meant contain it.

    Raises:
        PoolError: The value or the latency weight is out of range.
    """

    kind: TargetKind
    value: float
    latency_weight: float = 0.0

    def __post_init__(self) -> None:
        check_latency_weight(self.latency_weight)
        is_fine = 0 <= self.value < float("inf") if self.kind == "cost" else 0 <= self.value <= 1
        if not is_fine or (self.kind == "saving" and self.value == 1):
            expected = {"cost": "a finite number of at least 0", "quality": "in [0, 1]", "saving": "in [0, 1)"}
            raise PoolError(f"target {self.kind}: got {self.value}, expected {expected[self.kind]}.")


class Tuned(NamedTuple):
    """A cost weight and what it is expected to give.

    Attributes:
        cost_weight: Error accepted to save one reference cost [1].
        cost: Mean cost of the chosen LLMs [cost unit].
        quality: Mean of 1 - estimated error of the chosen LLMs.
        is_reached: Whether that meets the target; if not, nothing else comes nearer.
    """

    cost_weight: float
    cost: float
    quality: float
    is_reached: bool


def tune_cost_weight(
    estimated_error: ErrorMatrix,
    cost: CostMatrix,
    reference_cost: float,
    target: Target,
    by_cost: LLMSubset | None = None,
) -> Tuned:
    """The cost weight that meets a target on some prompts, by bisection.

    Mean cost and mean estimated quality fall as the cost weight rises, so there is one cost weight on the edge. There
    the sums of a prompt are nearly a tie; what counts as one is a little wider here than in routing where a quality is
    wanted, and a little narrower otherwise, so that a choice that rounding moves misses no target.

    Args:
        estimated_error: Estimated errors of the LLMs that may be chosen; infinite where one may not.
        cost: What they cost.
        reference_cost: What a cost weight refers to [cost unit].
        target: What is wanted.
        by_cost: Their order where sums are equal; that of their mean costs here by default.

    Returns:
        For a quality the greatest cost weight that reaches it, for a cost or a saving the least; to a relative
        precision of 1e-9. The nearest end where nothing meets the target.
    """
    rows, estimated, relative = torch.arange(len(cost)), estimated_error.double(), cost.double() / reference_cost
    by_cost = order_by_cost(relative.mean(0)) if by_cost is None else by_cost
    tolerance = _TIE * (1 + _ROUNDING if target.kind == "quality" else 1 - _ROUNDING)

    def at(weight: float) -> Tuned:
        chosen = least_total(estimated + weight * relative, by_cost, tolerance)
        quality = 1 - float(estimated_error[rows, chosen].double().mean())
        found = Tuned(weight, float(cost[rows, chosen].double().mean()), quality, True)
        return found._replace(is_reached=meets(found))

    limit = target.value
    if target.kind == "saving":
        mean_error, mean_cost = estimated_error.double().mean(0), cost.double().mean(0)
        limit = (1 - target.value) * float(mean_cost[mean_error <= mean_error.min() + _TIE].min())

    def meets(found: Tuned) -> bool:
        return found.quality >= limit if target.kind == "quality" else found.cost <= limit * (1 + _PRECISION)

    return _edge(at, wants_high=target.kind == "quality")


def _edge(at: Callable[[float], Tuned], *, wants_high: bool) -> Tuned:
    """The last cost weight from below that meets a target, or the first."""
    low = at(0.0)
    if low.is_reached != wants_high:
        # without any regard to cost the quality is too low already, or the cost low enough
        return low
    high = at(1.0)
    while high.is_reached == wants_high and high.cost_weight < _GREATEST_WEIGHT:
        low, high = high, at(2 * high.cost_weight)
    if high.is_reached == wants_high:
        return high
    while high.cost_weight - low.cost_weight > _PRECISION * high.cost_weight:
        middle = at((low.cost_weight + high.cost_weight) / 2)
        low, high = (middle, high) if middle.is_reached == wants_high else (low, middle)
    return low if wants_high else high
