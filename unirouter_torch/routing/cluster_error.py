"""An LLM's feature vector: its mean error per cluster, from sums that merge."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.shapes import ClusterError, ClusterProbability, ErrorMatrix, ObservedMatrix

_NEWTON_STEPS = 5


class ClusterSums(NamedTuple):
    """Sums over calibration prompts from which cluster errors follow.

    Sums over disjoint sets of prompts add up to the sums over their union, so they merge across batches, workers and
    GPUs, and are updated as a stream.

    Attributes:
        error: ``sum_j p_k(x_j) e_j(h)`` over the observed calibration prompts ``j`` of LLM ``h`` [prompts].
        weight: ``sum_j p_k(x_j)`` over the same prompts [prompts]; a row sums to their number.
    """

    error: ClusterError
    weight: ClusterError

    def to(self, device: torch.device) -> "ClusterSums":
        """The same on another device."""
        return ClusterSums(self.error.to(device), self.weight.to(device))

    def merged(self, other: "ClusterSums") -> "ClusterSums":
        """Those over the prompts of both."""
        return ClusterSums(self.error + other.error, self.weight + other.weight)


def sum_by_cluster(
    cluster_probability: ClusterProbability, error: ErrorMatrix, observed: ObservedMatrix
) -> ClusterSums:
    """Sum the observed errors of calibration prompts by cluster.

    Args:
        cluster_probability: Soft assignment of the calibration prompts; rows sum to one.
        error: Observed errors in [0, 1]; ignored where not observed.
        observed: Which pairs of prompt and LLM were observed.

    Returns:
        Sums for every LLM and cluster, differentiable in ``cluster_probability``.
    """
    mask = observed.to(cluster_probability.dtype)
    return ClusterSums(
        error=(error.to(mask.dtype) * mask).T @ cluster_probability,
        weight=mask.T @ cluster_probability,
    )


def cluster_error(
    sums: ClusterSums, shrinkage: float | Float[Tensor, ""], expected: ClusterError | None = None
) -> ClusterError:
    """Mean error of each LLM in each cluster, shrunk toward an expected one.

    ``Psi_k(h) = (error_k + shrinkage * expected_k(h)) / (weight_k + shrinkage)``. A cluster without any weight takes
    the expected error.

    Args:
        sums: Sums over the calibration prompts.
        shrinkage: Strength of the pull [prompts], at least 0.
        expected: What is expected of the LLM in each cluster, in [0, 1]; when not given, its overall error, which is
            0.5 for an LLM without any outcome.

    Returns:
        Cluster errors in [0, 1], differentiable in all arguments.

    Source: UniRoute (arXiv:2502.08773) for the mean per cluster; soft sums and shrinkage are this project's.
    """
    if expected is None:
        expected = overall_error(sums).unsqueeze(-1)
    weight = sums.weight + shrinkage
    has_weight = weight > 0
    shrunk = (sums.error + shrinkage * expected) / torch.where(has_weight, weight, 1.0)
    return torch.where(has_weight, shrunk, expected).clamp(0.0, 1.0)


def expected_cluster_error(sums: ClusterSums, difficulty: Float[Tensor, " cluster"]) -> ClusterError:
    """Error of each LLM in each cluster as its ability alone lets expect: ``sigmoid(difficulty_k - ability(h))``.

    The ability of an LLM is such that its expected errors add up to those it made:
    ``sum_k weight_k sigmoid(difficulty_k - ability) + sigmoid(-ability) = sum_k error_k + 1/2``. The two terms outside
    the sums are one more outcome of one half at difficulty 0, which keeps the ability finite. So an LLM that was
    observed on easy prompts alone is not taken for a strong one.

    Args:
        sums: Sums over the calibration prompts.
        difficulty: How hard each cluster is for LLMs in general [log-odds].

    Returns:
        Expected errors in (0, 1), differentiable in both arguments; ``sigmoid(difficulty)`` without any outcome.

    Source: the Rasch model of item response theory, with clusters for items; its use as the target of the shrinkage is
    this project's.
    """
    weight, made, count = sums.weight, sums.error.sum(-1) + 0.5, sums.weight.sum(-1) + 1
    ability = (weight @ difficulty) / count - torch.logit(made / count)
    for _ in range(_NEWTON_STEPS):
        error, extra = torch.sigmoid(difficulty - ability.unsqueeze(-1)), torch.sigmoid(-ability)
        surplus = (weight * error).sum(-1) + extra - made
        slope = (weight * error * (1 - error)).sum(-1) + extra * (1 - extra)
        ability = ability + (surplus / slope).clamp(-1.0, 1.0)
    return torch.sigmoid(difficulty - ability.unsqueeze(-1))


def estimate_error(cluster_probability: ClusterProbability, cluster_error: ClusterError) -> ErrorMatrix:
    """Estimated error in [0, 1] of each LLM on each prompt: the inner product ``p(x) . Psi(h)``.

    Args:
        cluster_probability: Soft assignment of the prompts; rows sum to one.
        cluster_error: Cluster errors of the LLMs.

    Source: UniRoute (arXiv:2502.08773).
    """
    return (cluster_probability @ cluster_error.T).clamp(0.0, 1.0)


def overall_error(sums: ClusterSums) -> Float[Tensor, " llm"]:
    """Mean error of each LLM over its observed calibration prompts, in [0, 1]; 0.5 where it has none."""
    count = sums.weight.sum(-1)
    is_known = count > 0
    return torch.where(is_known, sums.error.sum(-1) / torch.where(is_known, count, 1.0), 0.5)
