"""Which prompts tell most about an LLM, and what an outcome on one of them counts."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unirouter_torch.routing.cluster_error import ClusterSums, sum_by_cluster
from unirouter_torch.shapes import ClusterError, ClusterProbability, ErrorMatrix, ObservedMatrix

DIFFICULTY_LLMS = 2.0
"""LLMs that a prompt's difficulty is pulled to that of its clusters with."""
DISCRIMINATION_LLMS = 30.0
"""LLMs that a prompt's discrimination is pulled to 1 with."""
CLUSTER_DEVIATION = 0.5
"""Standard deviation with which a cluster error may differ from what the LLM's other clusters let expect."""
_SURE = 0.03
_LEAST_DISCRIMINATION = 0.3
_NUM_SWEEPS = 4


class OutcomeAdjustment(NamedTuple):
    """What an error on a chosen prompt counts in the sums: ``offset + slope * error``.

    Chosen prompts are no fair sample: they are of middling difficulty and part LLMs more than others. With it they say
    what prompts of their clusters would say on average.

    Attributes:
        offset: What an answer without error counts.
        slope: What an error adds to it.
    """

    offset: Float[Tensor, " prompt"]
    slope: Float[Tensor, " prompt"]


class PromptSelection(NamedTuple):
    """Chosen prompts.

    Attributes:
        rows: Their rows, the one that tells most first.
        adjustment: What an error on each of them counts, in that order.
    """

    rows: Int[Tensor, " chosen"]
    adjustment: OutcomeAdjustment


class Items(NamedTuple):
    """How LLMs fare on each prompt: an error of ``difficulty + discrimination * (p . Psi - typical)``, and noise.

    Attributes:
        typical: Error that the cluster errors of the mean LLM let expect.
        difficulty: Error that the mean LLM makes.
        discrimination: How much the error differs between LLMs, in units of what their cluster errors let expect.
        noise: Variance of an outcome that is left.
    """

    typical: Float[Tensor, " prompt"]
    difficulty: Float[Tensor, " prompt"]
    discrimination: Float[Tensor, " prompt"]
    noise: Float[Tensor, " prompt"]


def sum_adjusted(
    cluster_probability: ClusterProbability,
    error: ErrorMatrix,
    observed: ObservedMatrix,
    adjustment: OutcomeAdjustment | None,
) -> ClusterSums:
    """Sums of adjusted errors by cluster, as :func:`sum_by_cluster` gives them without adjustment.

    An adjusted error can lie outside [0, 1]; a sum of them is kept between 0 and its weight.
    """
    if adjustment is None:
        return sum_by_cluster(cluster_probability, error, observed)
    offset, slope = (part.unsqueeze(-1) for part in adjustment)
    sums = sum_by_cluster(cluster_probability, offset + slope * error, observed)
    return ClusterSums(error=torch.minimum(sums.error.clamp(min=0.0), sums.weight), weight=sums.weight)


@torch.no_grad()
def select_prompts(
    cluster_probability: ClusterProbability,
    error: ErrorMatrix,
    observed: ObservedMatrix,
    cluster_error: ClusterError,
    num_prompts: int,
) -> PromptSelection:
    """Choose the prompts whose outcomes tell most about the cluster errors of an LLM that is still to come.

    Greedily takes the prompt that lowers the expected squared error of ``p . Psi`` over all prompts most, if
    ``Psi`` is Gaussian over LLMs and outcomes are as :func:`fit_items` says: coverage times discrimination. A smaller
    choice is the beginning of every larger one.

    Args:
        cluster_probability: Of the prompts to choose from; rows sum to one.
        error: Errors of known LLMs on them, in [0, 1]; ignored where not observed.
        observed: Which pairs were observed.
        cluster_error: Cluster errors of the same LLMs, of which there are at least two.
        num_prompts: How many, at least 1; all of them if there are fewer. Ties go to the earlier row.

    Source: sequential A-optimal design, with the discrimination of item response theory; their use here is this
    project's.
    """
    items = fit_items(cluster_probability, error, observed, cluster_error)
    rows = _choose(items, cluster_probability, cluster_error, min(num_prompts, len(cluster_probability)))
    scale = items.discrimination[rows].mean()  # all alike: that of a single prompt is partly luck
    offset = items.typical[rows] - items.difficulty[rows] / scale
    return PromptSelection(rows, OutcomeAdjustment(offset=offset, slope=(1 / scale).expand(len(rows)).clone()))


def fit_items(
    cluster_probability: ClusterProbability, error: ErrorMatrix, observed: ObservedMatrix, cluster_error: ClusterError
) -> Items:
    """Difficulty and discrimination of prompts by ridge regression of errors on what cluster errors let expect.

    With few LLMs both are pulled to what the prompt's clusters let expect: the difficulty to the typical error as if by
    2 LLMs, the discrimination to 1 as if by 30.
    """
    seen = observed.to(cluster_probability.dtype)
    typical = cluster_probability @ cluster_error.mean(0)
    deviation = (cluster_probability @ cluster_error.T - typical.unsqueeze(-1)) * seen
    pull = (DISCRIMINATION_LLMS * deviation.square().sum() / seen.sum().clamp(min=1.0)).clamp(min=1e-12)
    difficulty, discrimination = typical, torch.ones_like(typical)
    for _ in range(_NUM_SWEEPS):
        surplus = (error - discrimination.unsqueeze(-1) * deviation) * seen
        difficulty = (surplus.sum(1) + DIFFICULTY_LLMS * typical) / (seen.sum(1) + DIFFICULTY_LLMS)
        agreement = (deviation * (error - difficulty.unsqueeze(-1))).sum(1)
        discrimination = (agreement + pull) / (deviation.square().sum(1) + pull)
    discrimination = discrimination.clamp(min=_LEAST_DISCRIMINATION)
    every = cluster_probability @ cluster_error.T - typical.unsqueeze(-1)
    expected = (difficulty.unsqueeze(-1) + discrimination.unsqueeze(-1) * every).clamp(_SURE, 1 - _SURE)
    return Items(typical, difficulty, discrimination, noise=(expected * (1 - expected)).mean(1))


def _choose(
    items: Items, cluster_probability: ClusterProbability, cluster_error: ClusterError, num_prompts: int
) -> Int[Tensor, " chosen"]:
    """Rows of a sequential A-optimal design, one after the other."""
    num_clusters = cluster_probability.shape[1]
    covariance = torch.cov(cluster_error.T).reshape(num_clusters, num_clusters)
    covariance = covariance + CLUSTER_DEVIATION**2 * torch.eye(num_clusters)
    matters = cluster_probability.T @ cluster_probability / len(cluster_probability)
    effect = items.discrimination.unsqueeze(-1) * cluster_probability
    is_free = torch.ones(len(effect), dtype=torch.bool)
    rows = []
    for _ in range(num_prompts):
        learned = effect @ covariance
        variance = (learned * effect).sum(1) + items.noise
        gain = ((learned @ matters) * learned).sum(1) / variance
        row = int(torch.where(is_free, gain, -1.0).argmax())
        covariance = covariance - torch.outer(learned[row], learned[row]) / variance[row]
        is_free[row] = False
        rows.append(row)
    return torch.tensor(rows, dtype=torch.long)
