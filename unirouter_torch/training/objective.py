"""The loss of one episode, as a function of tensors."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error, sum_by_cluster
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import ErrorMatrix, ObservedMatrix
from unirouter_torch.training.device_group import ALONE, DeviceGroup

PROBABILITY_FLOOR = 1e-4


class EpisodeOutcomes(NamedTuple):
    """The outcomes of some LLMs on two disjoint sets of prompts.

    Attributes:
        calibration: Represent the LLMs.
        target: Are predicted.
    """

    calibration: Outcomes
    target: Outcomes


def estimate_targets(head: ClusterHead, episode: EpisodeOutcomes, workers: DeviceGroup = ALONE) -> ErrorMatrix:
    """Estimated errors on the target prompts, exactly as for an LLM that has just joined the pool.

    ``p(x) . Psi(h)`` with ``Psi`` formed from the calibration prompts through the same ``p``; differentiable in the
    head and the embeddings on both sides.

    Args:
        head: Gives ``p``.
        episode: The outcomes, or this worker's share of the prompts with all LLMs.
        workers: Who has the other calibration prompts: ``Psi`` is formed from the sums over all of them.
    """
    calibration = episode.calibration
    own = sum_by_cluster(head(calibration.embedding), calibration.error, calibration.observed)
    sums = ClusterSums(workers.sum(own.error), workers.sum(own.weight))
    return estimate_error(head(episode.target.embedding), head.cluster_error(sums))


def cross_entropy(
    estimated_error: ErrorMatrix, error: ErrorMatrix, observed: ObservedMatrix, workers: DeviceGroup = ALONE
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy of the observed pairs.

    ``-(e log g + (1 - e) log(1 - g))`` with the estimate ``g`` kept 1e-4 away from 0 and 1.

    Args:
        estimated_error: Estimates in [0, 1].
        error: Observed errors in [0, 1], binary or graded.
        observed: Which pairs count.
        workers: Who has the other target prompts; the mean is that over all of them, at every worker.

    Returns:
        The mean [nats]; 0 where nothing was observed.

    Source: UniRoute (arXiv:2502.08773), objective of the learned map.
    """
    estimate = estimated_error.clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    loss = torch.nn.functional.binary_cross_entropy(estimate, error, reduction="none")
    return workers.sum((loss * observed).sum()) / workers.sum(observed.sum()).clamp(min=1)
