"""What the methods with a trained cluster head share: soft clusters on both sides."""

from typing import ClassVar

import torch

from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.routing.cluster_error import estimate_error
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.routing.prompt_selection import OutcomeAdjustment, sum_adjusted
from unirouter_torch.shapes import ClusterError, Embedding, ErrorMatrix


class HeadMethod(RoutingMethod[ClusterError]):
    """Estimates ``p(x) . Psi(h)``, with ``Psi`` formed through the same ``p``; the subclass says how ``p`` is learned.

    Attributes:
        head: The fitted head.
        steps: The training steps whose weights were kept, by what was trained, for the report.
        adjustment: What an error on each calibration prompt counts; None where it counts as it is.
    """

    trains_head: ClassVar[bool] = True
    is_tuned_to_num_calibration: ClassVar[bool] = False
    settings: ClassVar[tuple[str, ...]] = ("head", "episodes", "optimizer", "trainer")

    def __init__(self) -> None:
        self.head = ClusterHead(1, 1)
        self.steps: dict[str, int] = {}
        self.adjustment: OutcomeAdjustment | None = None

    @torch.inference_mode()
    def represent(self, calibration: Outcomes) -> ClusterError:
        """Soft, shrunk mean error of each LLM in each cluster."""
        probability = self.head(calibration.embedding)
        sums = sum_adjusted(probability, calibration.error, calibration.observed, self.adjustment)
        return self.head.cluster_error(sums)

    @torch.inference_mode()
    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """Inner product of cluster probabilities and cluster errors."""
        return estimate_error(self.head(embedding), features)

    def describe(self) -> dict[str, int | float]:
        """Number of clusters, learned shrinkage [prompts], and the training steps whose weights were kept."""
        shrinkage = round(self.head.shrinkage.item(), 3)
        return {"num_clusters": self.head.num_clusters, "shrinkage": shrinkage, **self.steps}
