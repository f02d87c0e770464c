"""An LLM's feature vector: its mean error per cluster, from sums that merge."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.shapes import ClusterError, ClusterProbability, ErrorMatrix, ObservedMatrix


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


def cluster_error(sums: ClusterSums, shrinkage: float | Float[Tensor, ""]) -> ClusterError:
    """Mean error of each LLM in each cluster, shrunk toward the LLM's overall error.

    ``Psi_k(h) = (error_k + shrinkage * overall) / (weight_k + shrinkage)`` with ``overall = sum(error) / sum(weight)``.
    A cluster without any weight takes the overall error. An LLM without any outcome takes 0.5 everywhere.

    Args:
        sums: Sums over the calibration prompts.
        shrinkage: Strength of the pull [prompts], at least 0.

    Returns:
        Cluster errors in [0, 1], differentiable in the sums and the shrinkage.

    Source: UniRoute (arXiv:2502.08773) for the mean per cluster; soft sums and shrinkage are this project's.
    """
    overall = overall_error(sums).unsqueeze(-1)
    weight = sums.weight + shrinkage
    has_weight = weight > 0
    shrunk = (sums.error + shrinkage * overall) / torch.where(has_weight, weight, 1.0)
    return torch.where(has_weight, shrunk, overall).clamp(0.0, 1.0)


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
