"""What estimates are judged by: the outcomes of a pool on test prompts, and what is read off both."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import one_hot

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.deferral import (
    DEFAULT_CONVENTION,
    DeferralCurve,
    area_under_deferral_curve,
    deferral_curve,
    quality_of_competing,
    single_llm_quality,
)
from unirouter_torch.metrics.diagnostics import (
    Diagnostics,
    Reliability,
    SourceScores,
    measure_reliability,
    sample_curve,
    score_sources,
    shares_along,
)
from unirouter_torch.routing.cluster_error import cluster_error, estimate_error, sum_by_cluster
from unirouter_torch.shapes import CostVector, ErrorMatrix, ObservedMatrix, PromptSubset


class SingleLLM(NamedTuple):
    """One LLM for every prompt.

    Attributes:
        column: Of the LLM in the pool.
        quality: Its mean quality over the prompts on which it was observed.
        cost: What it costs [unit of the pool].
    """

    column: int
    quality: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Outcomes of a pool on the prompts that methods are judged on.

    What does not depend on a method is computed once, when it is first asked for.

    Attributes:
        cost: Cost of one prompt for each LLM, at least 0 [any unit].
        error: Observed errors in [0, 1]; ignored where not observed.
        observed: Which pairs were observed; only those can be chosen.
        convention: How curves are read.
        source: Position in ``source_names`` of the source of each prompt; None where sources play no part.
        source_names: Every source once.
    """

    cost: CostVector
    error: ErrorMatrix
    observed: ObservedMatrix
    convention: CurveConvention = DEFAULT_CONVENTION
    source: Int[Tensor, " prompt"] | None = None
    source_names: tuple[str, ...] = ()

    def of_prompts(self, prompts: PromptSubset) -> "Truth":
        """The same on some of the prompts."""
        source = None if self.source is None else self.source[prompts]
        return replace(self, error=self.error[prompts], observed=self.observed[prompts], source=source)

    def area_of(self, estimated_error: ErrorMatrix) -> float:
        """Area under the deferral curve of some estimates."""
        curve = deferral_curve(estimated_error, self.cost, self.error, self.observed)
        return area_under_deferral_curve(curve, self.cost, self.convention)

    @cached_property
    def best_single(self) -> SingleLLM:
        """The most accurate LLM among those observed on almost every prompt; of equals the cheapest, then the first.

        Raises:
            DataError: No pair was observed.
        """
        quality = quality_of_competing(self.error, self.observed)
        best = float(quality.max())
        column = int(torch.where(quality == best, self.cost.double(), torch.inf).argmin())
        return SingleLLM(column, best, float(self.cost[column]))

    @cached_property
    def constant_area(self) -> float:
        """Area of the best that can be done without reading a prompt: the hull of the single LLMs, known beforehand."""
        mean_error = 1.0 - single_llm_quality(self.error, self.observed)
        return self.area_of(mean_error.expand(len(self.error), -1))

    @cached_property
    def source_oracle_area(self) -> float | None:
        """Area of each LLM's true mean error on the prompts of a source as the estimate there; None without sources."""
        if self.source is None:
            return None
        source = one_hot(self.source).to(self.error.dtype)
        features = cluster_error(sum_by_cluster(source, self.error, self.observed), 0.0)
        return self.area_of(estimate_error(source, features))

    @cached_property
    def oracle_area(self) -> float:
        """Area of the observed errors as the estimates: no router passes it where points are mixed linearly."""
        return self.area_of(self.error)


@dataclass(frozen=True)
class Judged:
    """Estimates of a method beside the truth; what several figures are read off is computed once.

    Attributes:
        estimated_error: Estimated error of each LLM of the pool on each prompt.
        truth: What they are judged by.
    """

    estimated_error: ErrorMatrix
    truth: Truth

    @cached_property
    def curve(self) -> DeferralCurve:
        """The deferral curve.

        Raises:
            PoolError: A cost is negative or not finite.
            DataError: No pair was observed, or an error or estimate of an observed pair is not finite.
        """
        return deferral_curve(self.estimated_error, self.truth.cost, self.truth.error, self.truth.observed)

    @cached_property
    def reliability(self) -> Reliability:
        """Estimated against observed errors."""
        return measure_reliability(self.estimated_error, self.truth.error, self.truth.observed)

    @cached_property
    def sources(self) -> dict[str, SourceScores]:
        """Scores by the name of the source; sources with fewer than 10 prompts are left out."""
        truth = self.truth
        if truth.source is None:
            return {}
        outcomes = (truth.error, truth.observed, truth.source, truth.source_names)
        return score_sources(self.estimated_error, *outcomes, truth.cost, truth.convention)

    def diagnose(self, *, with_shares: bool = True) -> Diagnostics:
        """What lies behind the figures.

        Args:
            with_shares: Whether to compute the shares of the LLMs.
        """
        cost, convention, observed = self.truth.cost, self.truth.convention, self.truth.observed
        return Diagnostics(
            curve=sample_curve(self.curve, cost, convention),
            reliability=self.reliability,
            sources=self.sources,
            shares=shares_along(self.curve, self.estimated_error, cost, observed, convention) if with_shares else None,
        )
