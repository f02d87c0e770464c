"""The oracle: the true outcomes, an upper bound for every router."""

from typing import ClassVar

import torch

from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Embedding, ErrorMatrix


class Oracle(RoutingMethod[ErrorMatrix]):
    """Estimates the error of each pair by the error itself."""

    name: ClassVar[str] = "oracle"
    title: ClassVar[str] = "Oracle"
    place: ClassVar[int] = 19
    is_reference: ClassVar[bool] = True
    is_oracle: ClassVar[bool] = True

    def __init__(self) -> None:
        self._truth: ErrorMatrix = torch.empty(0, 0)

    def fit(self, trial: Trial) -> None:
        """Look at the errors of the unseen LLMs on the test prompts."""
        self._truth = trial.test.error

    def represent(self, calibration: Outcomes) -> ErrorMatrix:
        """The true errors, whatever the calibration outcomes say."""
        return self._truth

    def estimate_error(self, embedding: Embedding, features: ErrorMatrix) -> ErrorMatrix:
        """The true errors of the prompts."""
        assert features.shape[0] == embedding.shape[0]
        return features
