"""The best single LLM of the calibration prompts, for every prompt."""

from typing import ClassVar

import torch

from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.trial import Trial
from unirouter_torch.methods.zero import ZeroRouter
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Embedding, ErrorMatrix, ErrorVector


class BestSingle(RoutingMethod[ErrorVector]):
    """Estimates 0 for the LLM with the smallest mean error on the calibration prompts, and 1 for every other.

    So its deferral curve is the line from that LLM to the cheapest one.
    """

    name: ClassVar[str] = "best_single"
    title: ClassVar[str] = "Best single LLM"
    place: ClassVar[int] = 1
    is_reference: ClassVar[bool] = True

    def fit(self, trial: Trial) -> None:
        """Nothing to learn."""

    def represent(self, calibration: Outcomes) -> ErrorVector:
        """0 for the best LLM, the first of equals, and 1 for the others."""
        mean_error = ZeroRouter().represent(calibration)
        features = torch.ones_like(mean_error)
        features[mean_error.argmin()] = 0.0
        return features

    def estimate_error(self, embedding: Embedding, features: ErrorVector) -> ErrorMatrix:
        """The features, once for each prompt."""
        return features.expand(embedding.shape[0], -1)
