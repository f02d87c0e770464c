"""What lies behind a method's figures on one trial: curve, reliability, sources, shares of the LLMs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.deferral import (
    DeferralCurve,
    area_under_deferral_curve,
    deferral_curve,
    read_quality,
    relative_cost,
    single_llm_quality,
)
from unirouter_torch.metrics.records import (
    CurveRecord,
    DiagnosticsRecord,
    ReliabilityRecord,
    SharesRecord,
    SourceRecord,
)
from unirouter_torch.routing.decision import choose_llm
from unirouter_torch.shapes import CostVector, ErrorMatrix, ObservedMatrix

GRID = tuple((step / 100) ** 3 for step in range(101))
"""Relative costs at which curves are compared over trials: 101 from 0 to 1, denser where it is cheap."""

NUM_BINS = 10
MIN_PROMPTS_OF_A_SOURCE = 10
NUM_SHARE_POINTS = 25
NUM_DIGITS = 6
"""Digits after the point of what is kept in JSON and lies in [0, 1]."""


@dataclass(frozen=True)
class SampledCurve:
    """A deferral curve at the relative costs of ``GRID``.

    Attributes:
        quality: Mean quality as the convention reads it.
        cost_weight: Least cost weight at which the router costs no more [1 / unit of cost]; NaN where it always does.
    """

    quality: Float[Tensor, " grid"]
    cost_weight: Float[Tensor, " grid"]


@dataclass(frozen=True)
class Reliability:
    """Estimated against observed errors in ten bins of equal width of the estimate.

    Attributes:
        count: Observed pairs in each bin.
        estimated: Mean estimated error; NaN where the bin is empty.
        observed: Mean observed error; NaN where the bin is empty.
    """

    count: Int[Tensor, " bin"]
    estimated: Float[Tensor, " bin"]
    observed: Float[Tensor, " bin"]

    @property
    def expected_calibration_error(self) -> float:
        """``sum_b count_b / sum(count) * |estimated_b - observed_b|``, in [0, 1] for estimates in [0, 1]."""
        gap = (self.estimated - self.observed).abs().nan_to_num()
        return float((self.count * gap).sum() / self.count.sum())


class SourceScores(NamedTuple):
    """How a method did on the prompts of one source.

    Attributes:
        num_prompts: Test prompts of the source with an outcome.
        area: Area under the method's deferral curve on them, over costs relative to the same pool.
        best_area: The same for estimates that are each LLM's true mean error there: the best that can be done by
            knowing the source and nothing else of the prompt.
        regret: ``best_area - area``; negative where the method distinguishes prompts of the source.
    """

    num_prompts: int
    area: float
    best_area: float
    regret: float


@dataclass(frozen=True)
class Shares:
    """How a method spreads prompts over the LLMs at up to 25 points of its deferral curve.

    Attributes:
        relative_cost: Of each point, rising.
        cost_weight: From which the point holds, falling [1 / unit of cost].
        share: Of the prompts that each LLM gets, in [0, 1]; the LLMs of a point sum to 1.
    """

    relative_cost: Float[Tensor, " point"]
    cost_weight: Float[Tensor, " point"]
    share: Float[Tensor, "point llm"]


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """One method on one trial.

    Attributes:
        curve: Its deferral curve, at the same costs for all methods and trials.
        reliability: Its estimates against the observed errors.
        sources: Its scores by the name of the source; sources with fewer than 10 test prompts are left out.
        shares: Of the prompts that each LLM gets along the curve; None where they were not wanted.
    """

    curve: SampledCurve
    reliability: Reliability
    sources: dict[str, SourceScores]
    shares: Shares | None

    @property
    def expected_calibration_error(self) -> float:
        """Mean distance between estimated and observed error over the bins, weighted by their pairs."""
        return self.reliability.expected_calibration_error

    @property
    def worst_source_regret(self) -> float | None:
        """The largest regret of a source; None where every source is too small."""
        return max((scores.regret for scores in self.sources.values()), default=None)

    def record(self) -> DiagnosticsRecord:
        """Everything as JSON values; what is NaN is None."""
        return DiagnosticsRecord(
            curve=CurveRecord(relative_cost=list(GRID), **_to_lists(self.curve)),
            reliability=ReliabilityRecord(**_to_lists(self.reliability)),
            expected_calibration_error=self.expected_calibration_error,
            sources={name: SourceRecord(**scores._asdict()) for name, scores in self.sources.items()},
            worst_source_regret=self.worst_source_regret,
            shares=None if self.shares is None else SharesRecord(**_to_lists(self.shares)),
        )


def sample_curve(curve: DeferralCurve, cost: CostVector, convention: CurveConvention) -> SampledCurve:
    """A deferral curve at the relative costs of ``GRID``.

    Read as :func:`~unirouter_torch.metrics.deferral.area_under_deferral_curve` reads it: of points of one cost the
    one of the least cost weight counts.

    Args:
        curve: Deferral curve of a router.
        cost: Cost of each LLM of the pool.
        convention: Interpolation, and quality left of the cheapest point.
    """
    at = relative_cost(curve.cost, cost, convention).flip(0)
    quality, cost_weight = curve.quality.flip(0), curve.cost_weight.flip(0)
    found = read_quality(at, quality, torch.tensor(GRID, dtype=at.dtype), convention.interpolation)
    left = quality[0] if convention.left == "hold" else torch.zeros_like(quality[0])
    return SampledCurve(
        quality=torch.where(found.is_left_of_all, left, found.quality),
        cost_weight=cost_weight[found.point].masked_fill(found.is_left_of_all, math.nan),
    )


def measure_reliability(estimated_error: ErrorMatrix, error: ErrorMatrix, observed: ObservedMatrix) -> Reliability:
    """Mean estimated and mean observed error in ten bins of the estimate, over the observed pairs.

    Bin ``b`` of 0 to 9 holds the estimates in ``[b / 10, (b + 1) / 10)``; the outer two take what lies beyond.
    """
    estimated = estimated_error[observed].double()
    which = (estimated * NUM_BINS).floor().long().clamp(0, NUM_BINS - 1)
    count = torch.bincount(which, minlength=NUM_BINS)
    estimated_sum = torch.bincount(which, estimated, minlength=NUM_BINS)
    observed_sum = torch.bincount(which, error[observed].double(), minlength=NUM_BINS)
    return Reliability(count, estimated_sum / count, observed_sum / count)


def score_sources(
    estimated_error: ErrorMatrix,
    error: ErrorMatrix,
    observed: ObservedMatrix,
    source: Int[Tensor, " prompt"],
    source_names: Sequence[str],
    cost: CostVector,
    convention: CurveConvention,
) -> dict[str, SourceScores]:
    """Area and regret on the prompts of each source that has at least 10 with an outcome.

    Args:
        estimated_error: Estimated error of each LLM of the pool on each prompt.
        error: Observed errors in [0, 1]; ignored where not observed.
        observed: Which pairs were observed; only those can be chosen.
        source: Position in ``source_names`` of the source of each prompt.
        source_names: Every source once.
        cost: Cost of one prompt for each LLM, at least 0 [any unit].
        convention: How curves are read.
    """

    def area(estimate: ErrorMatrix, its_error: ErrorMatrix, its_observed: ObservedMatrix) -> float:
        return area_under_deferral_curve(deferral_curve(estimate, cost, its_error, its_observed), cost, convention)

    scores = {}
    source = source.masked_fill(~observed.any(-1), -1)
    for number, name in enumerate(source_names):
        rows = (source == number).nonzero().squeeze(-1)
        if len(rows) < MIN_PROMPTS_OF_A_SOURCE:
            continue
        outcomes = error[rows], observed[rows]
        mean_error = (1.0 - single_llm_quality(*outcomes)).expand(len(rows), -1)
        found, best = area(estimated_error[rows], *outcomes), area(mean_error, *outcomes)
        scores[name] = SourceScores(num_prompts=len(rows), area=found, best_area=best, regret=best - found)
    return scores


def shares_along(
    curve: DeferralCurve,
    estimated_error: ErrorMatrix,
    cost: CostVector,
    available: ObservedMatrix,
    convention: CurveConvention,
) -> Shares:
    """Share of the prompts that each LLM gets, at points spread evenly over the cube root of the curve's relative cost.

    Args:
        curve: Deferral curve of the estimates.
        estimated_error: What the choice is made by.
        cost: Cost of each LLM of the pool.
        available: Which LLMs may be chosen for which prompt; prompts without any are left out.
        convention: Its ``cost_axis`` decides what a relative cost is.
    """
    root = relative_cost(curve.cost, cost, convention).clamp(min=0.0).pow(1 / 3).flip(0)
    wanted = torch.linspace(float(root[0]), float(root[-1]), NUM_SHARE_POINTS, dtype=root.dtype)
    rising = torch.searchsorted(root, wanted, right=True) - 1
    points = len(root) - 1 - torch.tensor(sorted(set(rising.clamp(min=0).tolist())))
    # amid the interval in which a point holds, where rounding cannot tip a prompt to a neighbouring point
    following = torch.cat([curve.cost_weight[1:], 2.0 * curve.cost_weight[-1:]])
    amid = (curve.cost_weight + following)[points] / 2.0
    can_be_routed = available.any(-1)
    estimated, available, cost_there = estimated_error[can_be_routed].double(), available[can_be_routed], cost.double()
    chosen = [choose_llm(estimated, cost_there, weight, available) for weight in amid.tolist()]
    counts = torch.stack([torch.bincount(llm, minlength=len(cost)) for llm in chosen])
    return Shares(
        relative_cost=relative_cost(curve.cost[points], cost, convention),
        cost_weight=curve.cost_weight[points],
        share=counts.double() / len(estimated),
    )


def _to_lists(tensors: SampledCurve | Reliability | Shares) -> dict[str, list[Any]]:
    lists: dict[str, list[Any]] = {}
    for name, values in vars(tensors).items():
        exact = name in ("count", "cost_weight")
        lists[name] = _without_nan((values if exact else values.round(decimals=NUM_DIGITS)).tolist())
    return lists


def _without_nan(values: list[Any]) -> list[Any]:
    return [_without_nan(v) if isinstance(v, list) else None if v != v else v for v in values]
