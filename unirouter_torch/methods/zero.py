"""ZeroRouter: no prompt information at all."""

from typing import ClassVar

from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.cluster_error import ClusterSums, overall_error
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Embedding, ErrorMatrix, ErrorVector


class ZeroRouter(RoutingMethod[ErrorVector]):
    """Estimates ``mean_j e_j(h)`` over the calibration prompts, the same for every prompt.

    Its deferral curve, with two neighbouring choices mixed at random, is the Pareto hull of the single LLMs as the
    calibration prompts show them.

    Source: UniRoute (arXiv:2502.08773), ZeroRouter.
    """

    name: ClassVar[str] = "zero"
    title: ClassVar[str] = "ZeroRouter"
    place: ClassVar[int] = 2

    def fit(self, trial: Trial) -> None:
        """Nothing to learn."""

    def represent(self, calibration: Outcomes) -> ErrorVector:
        """Mean observed error of each LLM; 0.5 for an LLM without outcomes."""
        mask = calibration.observed.to(calibration.error.dtype)
        return overall_error(ClusterSums((calibration.error * mask).sum(0)[:, None], mask.sum(0)[:, None]))

    def estimate_error(self, embedding: Embedding, features: ErrorVector) -> ErrorMatrix:
        """The mean errors, once for each prompt."""
        return features.expand(embedding.shape[0], -1)
