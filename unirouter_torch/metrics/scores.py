"""Figures of merit, streamed over batches of prompts (torchmetrics) or of one whole evaluation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.deferral import DEFAULT_CONVENTION, DeferralCurve
from unirouter_torch.metrics.figures import FIGURES, FigureOfMerit, figures_of
from unirouter_torch.metrics.judged import Judged, Truth
from unirouter_torch.metrics.resampled import resampled_cost_of_quality
from unirouter_torch.shapes import CostVector, ErrorMatrix, ObservedMatrix

STREAMED = tuple(figure for figure in FIGURES if figure.streams)


class DeferralFigures(Metric):
    """Figures of merit of all prompts seen so far, from one deferral curve; the order of prompts does not matter.

    Args:
        cost: Cost of one prompt for each LLM of the pool, at least 0 [any unit].
        convention: How the curve is read.
        figures: Which figures; those that are logged in training by default. Sources play no part.
    """

    is_differentiable = False
    full_state_update = False

    cost: Tensor
    estimated_error: list[Tensor]
    error: list[Tensor]
    observed: list[Tensor]

    def __init__(
        self,
        cost: CostVector,
        convention: CurveConvention = DEFAULT_CONVENTION,
        figures: Sequence[FigureOfMerit] = STREAMED,
    ) -> None:
        super().__init__()
        self.convention = convention
        self.figures = figures
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

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """The figures for all prompts so far by key, in float64; NaN for what is not reached."""
        error, observed = dim_zero_cat(self.error), dim_zero_cat(self.observed)
        truth = Truth(cost=self.cost, error=error, observed=observed, convention=self.convention)
        found = figures_of(Judged(dim_zero_cat(self.estimated_error), truth), self.figures)
        return {
            key: self.cost.new_tensor(math.nan if value is None else value, dtype=torch.float64)
            for key, value in found.items()
        }


@dataclass(frozen=True, kw_only=True)
class MethodScores:
    """How one routing method did on one set of prompts and one pool.

    Attributes:
        figures: Figures of merit by key; None for what is not reached or not defined.
        curve: The deferral curve.
        resampled_cost: ``cost_at_99`` over resampled prompts, the same for all methods; infinite where not reached.
    """

    figures: dict[str, float | None]
    curve: DeferralCurve
    resampled_cost: Float[Tensor, " resample"]


def score(judged: Judged) -> MethodScores:
    """Every figure of merit of some estimates, and their curve.

    Raises:
        PoolError: A cost is negative or not finite.
        DataError: No pair was observed, or an error or estimate of an observed pair is not finite.
    """
    return MethodScores(
        figures=figures_of(judged), curve=judged.curve, resampled_cost=resampled_cost_of_quality(judged, 0.99)
    )
