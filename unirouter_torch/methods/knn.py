"""K-NN: the mean error on the calibration prompts nearest to the prompt."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.routing.method import Outcomes, RoutingMethod, Tuning, choose_by_area
from unirouter_torch.shapes import Embedding, ErrorMatrix

NUM_NEIGHBORS = (5, 10, 20, 40, 80, 160, 320)


class KNearestNeighbors(RoutingMethod[Outcomes]):
    """Estimates an LLM's error by its mean over the ``k`` nearest calibration prompts that it was observed on.

    Neighbours are nearest in cosine similarity. ``k`` is chosen by area on seen LLMs.

    Source: UniRoute (arXiv:2502.08773), K-NN baseline.
    """

    name: ClassVar[str] = "knn"

    def __init__(self) -> None:
        self.num_neighbors = NUM_NEIGHBORS[0]

    def fit(self, train: Outcomes, tuning: Tuning) -> None:
        """Choose ``k``."""
        candidates = [k for k in NUM_NEIGHBORS if k <= tuning.num_calibration] or [1]

        def estimate(calibration: Outcomes) -> Iterator[ErrorMatrix]:
            return (nearest_mean_error(tuning.validation.embedding, calibration, k) for k in candidates)

        self.num_neighbors = choose_by_area(candidates, estimate, train, tuning)

    def represent(self, calibration: Outcomes) -> Outcomes:
        """The outcomes themselves are the features."""
        return calibration

    def estimate_error(self, embedding: Embedding, features: Outcomes) -> ErrorMatrix:
        """Mean error over the nearest calibration prompts."""
        return nearest_mean_error(embedding, features, self.num_neighbors)

    def describe(self) -> dict[str, int | float]:
        """The chosen ``k``."""
        return {"num_neighbors": self.num_neighbors}


def nearest_mean_error(embedding: Embedding, calibration: Outcomes, num_neighbors: int) -> ErrorMatrix:
    """Mean error of each LLM over the nearest calibration prompts that it was observed on.

    Args:
        embedding: Prompts to estimate for.
        calibration: Outcomes on the calibration prompts.
        num_neighbors: How many neighbours to average; an LLM with fewer outcomes averages all of them.

    Returns:
        Estimated errors in [0, 1]; 0.5 for an LLM without outcomes.
    """
    similarity = (
        torch.nn.functional.normalize(embedding, dim=-1)
        @ torch.nn.functional.normalize(calibration.embedding, dim=-1).T
    )
    if calibration.observed.all():
        return _mean_of_nearest(similarity, calibration.error, num_neighbors)
    # LLMs observed on the same prompts share their neighbours
    patterns, pattern_of_llm = torch.unique(calibration.observed.T, dim=0, return_inverse=True)
    estimate = torch.empty(embedding.shape[0], calibration.error.shape[1])
    for number, pattern in enumerate(patterns):
        llms = (pattern_of_llm == number).nonzero().squeeze(-1)
        rows = pattern.nonzero().squeeze(-1)
        chosen = calibration.of_prompts(rows).of_llms(llms)
        estimate[:, llms] = _mean_of_nearest(similarity[:, rows], chosen.error, num_neighbors)
    return estimate


def _mean_of_nearest(
    similarity: Float[Tensor, "prompt calibration"],
    error: Float[Tensor, "calibration llm"],
    num_neighbors: int,
) -> ErrorMatrix:
    num_neighbors = min(num_neighbors, error.shape[0])
    if num_neighbors == 0:
        return torch.full((similarity.shape[0], error.shape[1]), 0.5)
    nearest = similarity.topk(num_neighbors, dim=-1, sorted=False).indices
    share = torch.zeros_like(similarity).scatter_(1, nearest, 1.0 / num_neighbors)
    return (share @ error).clamp(0.0, 1.0)
