"""The end-to-end router with the outcomes of the unseen LLMs on all training prompts: what few labels cost."""

from typing import ClassVar

import torch

from unirouter_torch.methods.end_to_end import EndToEnd
from unirouter_torch.methods.method import RoutingMethod, Tuning
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import ClusterError, Embedding, ErrorMatrix


class ClairvoyantEndToEnd(RoutingMethod[ClusterError]):
    """The end-to-end router, for LLMs that answered the training prompts as well as the calibration prompts.

    The head is trained on the seen LLMs alone, as ever; only the cluster errors of the unseen ones come from more
    outcomes, those that the other clairvoyant references are trained with. So its distance to the router itself is
    what few calibration prompts cost, and what is left to the oracle is up to embeddings and clusters.

    Args:
        router: The router, not fitted yet.
        clairvoyant: Unseen LLMs on training prompts.
    """

    name: ClassVar[str] = "clairvoyant_end_to_end"

    def __init__(self, router: EndToEnd, clairvoyant: Outcomes) -> None:
        self._router = router
        self._clairvoyant = clairvoyant

    def fit(self, train: Outcomes, tuning: Tuning) -> None:
        """Train the head on seen LLMs."""
        self._router.fit(train, tuning)

    def represent(self, calibration: Outcomes) -> ClusterError:
        """Soft, shrunk mean error in each cluster, over training and calibration prompts."""
        assert calibration.error.shape[1] == self._clairvoyant.error.shape[1]
        pairs = zip(self._clairvoyant, calibration, strict=True)
        return self._router.represent(Outcomes(*(torch.cat(pair) for pair in pairs)))

    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """Inner product of cluster probabilities and cluster errors."""
        return self._router.estimate_error(embedding, features)

    def describe(self) -> dict[str, int | float]:
        """As the router."""
        return self._router.describe()
