"""What every routing method does: fit on seen LLMs, represent an LLM, estimate errors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Generic, NamedTuple, TypeVar

import torch

from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import (
    Centroids,
    CostVector,
    Embedding,
    ErrorMatrix,
)


class Tuning(NamedTuple):
    """How a method chooses its hyper-parameters without test prompts and unseen LLMs.

    Attributes:
        validation: Seen LLMs on prompts that are not in the training data.
        cost: Cost of the seen LLMs.
        num_calibration: How many prompts will represent an unseen LLM.
        area: Area under the deferral curve of estimated errors [prompt llm] for the given outcomes; higher is better.
        centroids: K-means centroids of the training prompts for a number of clusters; computed once a number, whichever
            methods ask.
        seed: Seed of every random draw.
        form_dim: How many of the last columns of an embedding are surface features, which no distance takes in.
    """

    validation: Outcomes
    cost: CostVector
    num_calibration: int
    area: Callable[[ErrorMatrix, Outcomes], float]
    centroids: Callable[[int], Centroids]
    seed: int
    form_dim: int = 0


FeaturesT = TypeVar("FeaturesT")


class RoutingMethod(ABC, Generic[FeaturesT]):
    """A way to estimate the error of LLMs that it was not fitted on, from their outcomes on calibration prompts."""

    name: ClassVar[str]

    @abstractmethod
    def fit(self, train: Outcomes, tuning: Tuning) -> None:
        """Learn from the outcomes of seen LLMs on training prompts.

        Args:
            train: Seen LLMs on training prompts.
            tuning: Everything else that may be used to choose hyper-parameters.
        """

    @abstractmethod
    def represent(self, calibration: Outcomes) -> FeaturesT:
        """Features of the LLMs in ``calibration``, from their outcomes alone: nothing is trained."""

    @abstractmethod
    def estimate_error(self, embedding: Embedding, features: FeaturesT) -> ErrorMatrix:
        """Estimated error in [0, 1] of the represented LLMs on prompts with the given embeddings."""

    def describe(self) -> dict[str, int | float]:
        """What the fit chose, for the report; empty when there is nothing to choose."""
        return {}


CandidateT = TypeVar("CandidateT")

NUM_TUNING_DRAWS = 5


def choose_by_area(
    candidates: list[CandidateT],
    estimate: Callable[[Outcomes], Iterable[ErrorMatrix]],
    train: Outcomes,
    tuning: Tuning,
) -> CandidateT:
    """The candidate whose estimates give seen LLMs the largest area on validation prompts.

    Seen LLMs are represented by as many training prompts as will represent an unseen LLM, in several random draws, so
    that the choice is made under the conditions in which it will be used.

    Args:
        candidates: Values to choose from; the earlier one wins a tie.
        estimate: Estimated errors on the validation prompts from calibration outcomes, once for each candidate, in
            their order.
        train: Seen LLMs on training prompts.
        tuning: Validation outcomes and the measure of area.

    Returns:
        One of the candidates.

    Source: UniRoute (arXiv:2502.08773), choice of the number of clusters.
    """
    generator = torch.Generator().manual_seed(tuning.seed)
    num_prompts = train.embedding.shape[0]
    draws = [torch.randperm(num_prompts, generator=generator) for _ in range(NUM_TUNING_DRAWS)]
    calibrations = [train.of_prompts(draw[: tuning.num_calibration]) for draw in draws]

    total = torch.zeros(len(candidates), dtype=torch.float64)
    for calibration in calibrations:
        areas = [tuning.area(estimated, tuning.validation) for estimated in estimate(calibration)]
        total += torch.tensor(areas, dtype=torch.float64)
    return candidates[int(total.argmax())]


def cluster_counts(grid: Sequence[int], train: Outcomes, tuning: Tuning) -> list[int]:
    """The numbers of clusters of a grid that leave a training and a calibration prompt to each; one where none does."""
    return [number for number in grid if number <= min(train.embedding.shape[0], tuning.num_calibration)] or [1]
