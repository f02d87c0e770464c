"""Figures of merit, streamed over batches of prompts (torchmetrics) or of one whole evaluation."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import dim_zero_cat

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.deferral import (
    DEFAULT_CONVENTION,
    DeferralCurve,
    area_under_deferral_curve,
    best_single_quality,
    deferral_curve,
    peak_accuracy,
    quality_neutral_cost,
)
from unirouter_torch.shapes import CostVector, ErrorMatrix, ObservedMatrix


class DeferralMetric(Metric, ABC):
    """A figure read off the deferral curve of all prompts seen so far; their order does not matter.

    Args:
        cost: Cost of one prompt for each LLM of the pool, at least 0 [any unit].
        convention: How the curve is read.
    """

    is_differentiable = False
    full_state_update = False

    cost: Tensor
    estimated_error: list[Tensor]
    error: list[Tensor]
    observed: list[Tensor]

    def __init__(self, cost: CostVector, convention: CurveConvention = DEFAULT_CONVENTION) -> None:
        super().__init__()
        self.convention = convention
        self.register_buffer("cost", cost, persistent=False)
        for name in ("estimated_error", "error", "observed"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, estimated_error: ErrorMatrix, error: ErrorMatrix, observed: ObservedMatrix) -> None:
        """Add a batch of prompts.

        Args:
            estimated_error: Estimated error of each LLM of the pool on each prompt.
            error: Observed errors in [0, 1]; ignored where not observed.
            observed: Which pairs were observed; only those can be chosen.
        """
        self.estimated_error.append(estimated_error.detach())
        self.error.append(error)
        self.observed.append(observed)

    def curve(self) -> DeferralCurve:
        """The deferral curve of all prompts so far."""
        estimated_error = dim_zero_cat(self.estimated_error)
        return deferral_curve(estimated_error, self.cost, dim_zero_cat(self.error), dim_zero_cat(self.observed))

    @abstractmethod
    def compute(self) -> Float[Tensor, ""]:
        """The figure for all prompts so far, in float64."""


class AreaUnderDeferralCurve(DeferralMetric):
    """Area under the deferral curve; see :func:`~unirouter_torch.metrics.deferral.area_under_deferral_curve`.

    Args:
        cost: Cost of one prompt for each LLM of the pool, at least 0 [any unit].
        convention: How the curve is read.
        up_to: Largest relative cost, in (0, 1].
    """

    higher_is_better = True

    def __init__(self, cost: CostVector, convention: CurveConvention = DEFAULT_CONVENTION, up_to: float = 1.0) -> None:
        super().__init__(cost, convention)
        self.up_to = up_to

    def compute(self) -> Float[Tensor, ""]:
        """The area from relative cost 0 to ``up_to``."""
        area = area_under_deferral_curve(self.curve(), self.cost, self.convention, self.up_to)
        return self.cost.new_tensor(area, dtype=torch.float64)


class QualityNeutralCost(DeferralMetric):
    """Least relative cost at which the router is as good as the best single LLM; NaN when it never is."""

    higher_is_better = False

    def compute(self) -> Float[Tensor, ""]:
        """The relative cost, or NaN."""
        reference = best_single_quality(dim_zero_cat(self.error), dim_zero_cat(self.observed))
        reached = quality_neutral_cost(self.curve(), self.cost, reference, self.convention)
        return self.cost.new_tensor(math.nan if reached is None else reached, dtype=torch.float64)


class PeakAccuracy(DeferralMetric):
    """Highest mean quality on the deferral curve; no convention enters."""

    higher_is_better = True

    def compute(self) -> Float[Tensor, ""]:
        """The highest quality."""
        return self.cost.new_tensor(peak_accuracy(self.curve()), dtype=torch.float64)


class PairMeanSquaredError(Metric):
    """Mean of ``(estimated_error - error)^2`` over observed pairs of prompt and LLM; NaN without any pair."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    squared_error: Tensor
    num_pairs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("squared_error", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_pairs", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, estimated_error: ErrorMatrix, error: ErrorMatrix, observed: ObservedMatrix) -> None:
        """Add a batch of prompts; errors are ignored where not observed."""
        self.squared_error += _squared_errors(estimated_error.detach(), error, observed).sum()
        self.num_pairs += observed.sum()

    def compute(self) -> Float[Tensor, ""]:
        """The mean over all pairs so far."""
        return self.squared_error / self.num_pairs


def deferral_metrics(cost: CostVector, convention: CurveConvention = DEFAULT_CONVENTION) -> MetricCollection:
    """Every figure of merit for one pool, streamed together.

    Args:
        cost: Cost of one prompt for each LLM of the pool, at least 0 [any unit].
        convention: How the curve is read.

    Returns:
        A collection with the keys ``area``, ``area_50``, ``quality_neutral_cost``, ``peak_accuracy`` and
        ``mean_squared_error``.
    """
    return MetricCollection(
        {
            "area": AreaUnderDeferralCurve(cost, convention),
            "area_50": AreaUnderDeferralCurve(cost, convention, up_to=0.5),
            "quality_neutral_cost": QualityNeutralCost(cost, convention),
            "peak_accuracy": PeakAccuracy(cost, convention),
            "mean_squared_error": PairMeanSquaredError(),
        }
    )


@dataclass(frozen=True, kw_only=True)
class MethodScores:
    """How one routing method did on one set of prompts and one pool.

    Attributes:
        area: Area under the deferral curve; higher is better.
        area_50: The same up to relative cost 0.5, not rescaled.
        quality_neutral_cost: Least relative cost at which it is as good as the best single LLM; None when never.
        peak_accuracy: Highest mean quality on the curve.
        mean_squared_error: Of the estimated errors, over observed pairs.
        curve: The deferral curve itself.
    """

    area: float
    area_50: float
    quality_neutral_cost: float | None
    peak_accuracy: float
    mean_squared_error: float
    curve: DeferralCurve

    def figures(self) -> dict[str, float | None]:
        """The figures of merit by name, without the curve."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "curve"}


def score_method(
    estimated_error: ErrorMatrix,
    cost: CostVector,
    error: ErrorMatrix,
    observed: ObservedMatrix,
    convention: CurveConvention = DEFAULT_CONVENTION,
) -> MethodScores:
    """Judge the estimates of a routing method.

    Args:
        estimated_error: Estimated error of each LLM of the pool on each prompt.
        cost: Cost of one prompt for each LLM, at least 0 [any unit].
        error: Observed errors in [0, 1]; ignored where not observed.
        observed: Which pairs were observed; only those can be chosen.
        convention: How the curve is read.

    Returns:
        The same figures as :func:`deferral_metrics`, and the curve.

    Raises:
        PoolError: A cost is negative or not finite.
        DataError: No pair was observed, or an error or estimate of an observed pair is not finite.
    """
    curve = deferral_curve(estimated_error, cost, error, observed)
    return MethodScores(
        area=area_under_deferral_curve(curve, cost, convention),
        area_50=area_under_deferral_curve(curve, cost, convention, up_to=0.5),
        quality_neutral_cost=quality_neutral_cost(curve, cost, best_single_quality(error, observed), convention),
        peak_accuracy=peak_accuracy(curve),
        mean_squared_error=float(_squared_errors(estimated_error, error, observed).mean()),
        curve=curve,
    )


def _squared_errors(estimated_error: ErrorMatrix, error: ErrorMatrix, observed: ObservedMatrix) -> Tensor:
    return (estimated_error[observed].double() - error[observed].double()).square()
