"""The oracle: the true outcomes, an upper bound for every router."""

from typing import ClassVar

from unirouter_torch.methods.method import RoutingMethod, Tuning
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Embedding, ErrorMatrix


class Oracle(RoutingMethod[ErrorMatrix]):
    """Estimates the error of each pair by the error itself.

    Args:
        truth: True errors of the LLMs on the very prompts that will be routed, in that order.
    """

    name: ClassVar[str] = "oracle"

    def __init__(self, truth: ErrorMatrix) -> None:
        self._truth = truth

    def fit(self, train: Outcomes, tuning: Tuning) -> None:
        """Nothing to learn."""

    def represent(self, calibration: Outcomes) -> ErrorMatrix:
        """The true errors, whatever the calibration outcomes say."""
        return self._truth

    def estimate_error(self, embedding: Embedding, features: ErrorMatrix) -> ErrorMatrix:
        """The true errors of the prompts."""
        assert features.shape[0] == embedding.shape[0]
        return features
