"""Random choice: the floor of all floors."""

from typing import ClassVar

import torch

from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Embedding, ErrorMatrix


class RandomChoice(RoutingMethod[int]):
    """Estimates errors by uniform random numbers: at cost weight 0 every LLM is equally likely.

    Its features are the number of LLMs.
    """

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "Random"
    place: ClassVar[int] = 0
    is_reference: ClassVar[bool] = True

    def __init__(self) -> None:
        self.seed = 0

    def fit(self, trial: Trial) -> None:
        """Take the seed; there is nothing to learn."""
        self.seed = trial.tuning.seed

    def represent(self, calibration: Outcomes) -> int:
        """The number of LLMs."""
        return calibration.error.shape[1]

    def estimate_error(self, embedding: Embedding, features: int) -> ErrorMatrix:
        """Uniform random numbers in [0, 1), the same ones at every call."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.rand(embedding.shape[0], features, generator=generator)
