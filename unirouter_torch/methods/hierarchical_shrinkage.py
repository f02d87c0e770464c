"""Hierarchical shrinkage: coarse and fine clusters, the finer shrunk to the coarser."""

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.methods.method import RoutingMethod, choose_by_area
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.cluster_error import cluster_error
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Centroids, ClusterError, ClusterProbability, Embedding, ErrorMatrix
from unirouter_torch.training.clustering import assign_to_nearest, sum_by_nearest

NUM_COARSE, NUM_FINE = 20, 100
SHRINKAGE = (1.0, 3.0, 10.0, 30.0, 100.0)
SHIPPED_SHRINKAGE = 24.0


class HierarchicalErrors(NamedTuple):
    """What is known of each LLM.

    Attributes:
        coarse: Error in each coarse cluster, shrunk to the overall error.
        fine_error: Sum of errors in each fine cluster [prompts].
        fine_weight: Number of outcomes in each fine cluster [prompts].
    """

    coarse: ClusterError
    fine_error: Float[Tensor, "llm fine"]
    fine_weight: Float[Tensor, "llm fine"]


class ClusterHierarchy(RoutingMethod[HierarchicalErrors]):
    """Estimates an LLM's error in the fine cluster of a prompt, shrunk to that in its coarse one, shrunk to the mean.

    With ``n_c`` outcomes of summed error ``s_c`` in a cluster, ``c`` the prompt's coarse cluster (of 20) and ``f`` its
    fine one (of 100), ``coarse = (s_c + kappa * overall) / (n_c + kappa)`` and
    ``estimate = (s_f + kappa * coarse) / (n_f + kappa)``. K-means finds both sets of clusters on training prompts;
    there are never more of them than training prompts.

    Attributes:
        strengths: Values of ``kappa`` [prompts]; of several that of the largest area on seen LLMs is taken.

    Source: vLLM semantic router, issue 3459 there.
    """

    strengths: ClassVar[tuple[float, ...]]

    def __init__(self) -> None:
        self.coarse: Centroids = torch.empty(0, 0)
        self.fine: Centroids = torch.empty(0, 0)
        self.shrinkage = self.strengths[0]

    def fit(self, trial: Trial) -> None:
        """Cluster the training prompts twice, and choose the strength where there are several."""
        tuning = trial.tuning
        num_prompts = trial.train.embedding.shape[0]
        self.coarse, self.fine = (tuning.centroids(min(size, num_prompts)) for size in (NUM_COARSE, NUM_FINE))
        if len(self.strengths) == 1:
            return
        assignments = self._assign(tuning.validation.embedding)

        def estimate(calibration: Outcomes) -> Iterator[ErrorMatrix]:
            for shrinkage in self.strengths:
                yield _estimate(*assignments, self._represent(calibration, shrinkage), shrinkage)

        self.shrinkage = choose_by_area(list(self.strengths), estimate, trial)

    def represent(self, calibration: Outcomes) -> HierarchicalErrors:
        """Shrunk errors in the coarse clusters, sums in the fine ones."""
        return self._represent(calibration, self.shrinkage)

    def estimate_error(self, embedding: Embedding, features: HierarchicalErrors) -> ErrorMatrix:
        """The shrunk error in the clusters of the prompt."""
        return _estimate(*self._assign(embedding), features, self.shrinkage)

    def describe(self) -> dict[str, int | float]:
        """The chosen shrinkage [prompts]."""
        return {"shrinkage": self.shrinkage}

    def _assign(self, embedding: Embedding) -> tuple[ClusterProbability, Float[Tensor, "prompt fine"]]:
        return assign_to_nearest(embedding, self.coarse), assign_to_nearest(embedding, self.fine)

    def _represent(self, calibration: Outcomes, shrinkage: float) -> HierarchicalErrors:
        coarse = cluster_error(sum_by_nearest(calibration, self.coarse), shrinkage)
        return HierarchicalErrors(coarse, *sum_by_nearest(calibration, self.fine))


class HierarchicalShrinkage(ClusterHierarchy):
    """``ClusterHierarchy`` with a strength that is chosen by area on seen LLMs, which is this project's addition."""

    name: ClassVar[str] = "hierarchical_shrinkage"
    title: ClassVar[str] = "Hierarchical shrinkage"
    place: ClassVar[int] = 5
    strengths = SHRINKAGE


class ShippedHierarchicalShrinkage(ClusterHierarchy):
    """``ClusterHierarchy`` with the fixed strength of 24 prompts that vLLM's semantic router has.

    Source: vLLM semantic router, issue 3459 there.
    """

    name: ClassVar[str] = "hierarchical_shrinkage_24"
    title: ClassVar[str] = "Hierarchical shrinkage, strength 24 (vLLM)"
    place: ClassVar[int] = 6
    is_stage: ClassVar[bool] = True
    strengths = (SHIPPED_SHRINKAGE,)


def _estimate(
    coarse: ClusterProbability, fine: Float[Tensor, "prompt fine"], features: HierarchicalErrors, shrinkage: float
) -> ErrorMatrix:
    parent = coarse @ features.coarse.T
    error, weight = fine @ features.fine_error.T, fine @ features.fine_weight.T
    return ((error + shrinkage * parent) / (weight + shrinkage)).clamp(0.0, 1.0)
