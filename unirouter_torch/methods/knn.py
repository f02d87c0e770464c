"""K-NN: the mean error on the calibration prompts nearest to the prompt."""

from collections.abc import Sequence
from typing import ClassVar

import torch

from unirouter_torch.methods.method import RoutingMethod, choose_by_area
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Embedding, ErrorMatrix

NUM_NEIGHBORS = (5, 10, 20, 40, 80, 160, 320)


class KNearestNeighbors(RoutingMethod[Outcomes]):
    """Estimates an LLM's error by its mean over the ``k`` nearest calibration prompts that it was observed on.

    Neighbours are nearest in cosine similarity, surface features left out. ``k`` is chosen by area on seen LLMs.

    Source: UniRoute (arXiv:2502.08773), K-NN baseline.
    """

    name: ClassVar[str] = "knn"
    title: ClassVar[str] = "K-NN"
    place: ClassVar[int] = 3

    def __init__(self) -> None:
        self.num_neighbors = NUM_NEIGHBORS[0]
        self._form_dim = 0

    def fit(self, trial: Trial) -> None:
        """Choose ``k``."""
        tuning = trial.tuning
        self._form_dim = tuning.form_dim
        candidates = [k for k in NUM_NEIGHBORS if k <= tuning.num_calibration] or [1]

        def estimate(calibration: Outcomes) -> list[ErrorMatrix]:
            return self._estimate(tuning.validation.embedding, calibration, candidates)

        self.num_neighbors = choose_by_area(candidates, estimate, trial)

    def represent(self, calibration: Outcomes) -> Outcomes:
        """The outcomes themselves are the features."""
        return calibration

    def estimate_error(self, embedding: Embedding, features: Outcomes) -> ErrorMatrix:
        """Mean error over the nearest calibration prompts."""
        return self._estimate(embedding, features, [self.num_neighbors])[0]

    def describe(self) -> dict[str, int | float]:
        """The chosen ``k``."""
        return {"num_neighbors": self.num_neighbors}

    def _estimate(self, embedding: Embedding, calibration: Outcomes, num_neighbors: Sequence[int]) -> list[ErrorMatrix]:
        text_dim = embedding.shape[1] - self._form_dim
        calibration = calibration._replace(embedding=calibration.embedding[:, :text_dim])
        return nearest_mean_errors(embedding[:, :text_dim], calibration, num_neighbors)


def nearest_mean_errors(embedding: Embedding, calibration: Outcomes, num_neighbors: Sequence[int]) -> list[ErrorMatrix]:
    """Mean error of each LLM over the nearest calibration prompts that it was observed on.

    Args:
        embedding: Prompts to estimate for.
        calibration: Outcomes on the calibration prompts.
        num_neighbors: How many neighbours to average, each at least 1; an LLM with fewer outcomes averages all of them.

    Returns:
        Estimated errors in [0, 1] for each number of neighbours; 0.5 for an LLM without outcomes.
    """
    similarity = (
        torch.nn.functional.normalize(embedding, dim=-1)
        @ torch.nn.functional.normalize(calibration.embedding, dim=-1).T
    )
    nearest = similarity.argsort(dim=-1, descending=True)
    error = torch.where(calibration.observed, calibration.error, 0.0)
    estimates = [torch.full((embedding.shape[0], error.shape[1]), 0.5) for _ in num_neighbors]
    # LLMs observed on the same prompts share their neighbours
    patterns, pattern_of_llm = torch.unique(calibration.observed.T, dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if not pattern.any():
            continue
        llms = (pattern_of_llm == number).nonzero().squeeze(-1)
        # among the observed prompts, the nearest has rank 1
        rank = torch.empty_like(nearest).scatter_(1, nearest, pattern[nearest].cumsum(-1))
        for estimate, count in zip(estimates, num_neighbors, strict=True):
            is_near = (pattern & (rank <= count)).to(error.dtype)
            mean = is_near @ error[:, llms] / min(count, int(pattern.sum()))
            estimate[:, llms] = mean.clamp(0.0, 1.0)
    return estimates
