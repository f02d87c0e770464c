"""The end-to-end router with the outcomes of the unseen LLMs on all training prompts: what few labels cost."""

from typing import ClassVar

import torch

from unirouter_torch.methods.end_to_end import FrozenEndToEnd
from unirouter_torch.methods.head_method import HeadMethod
from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import ClusterError, Embedding, ErrorMatrix


class ClairvoyantEndToEnd(RoutingMethod[ClusterError]):
    """The end-to-end router, for LLMs that answered the training prompts as well as the calibration prompts.

    The head is that of ``end_to_end`` over the frozen encoder, trained on the seen LLMs alone; only the cluster errors
    of the unseen ones come from more outcomes, those that the other clairvoyant references are trained with. So its
    distance to the router itself is what few calibration prompts cost, and what is left to the oracle is up to
    embeddings and clusters.
    """

    name: ClassVar[str] = "clairvoyant_end_to_end"
    title: ClassVar[str] = "End-to-end, clairvoyant labels"
    place: ClassVar[int] = 17
    is_clairvoyant: ClassVar[bool] = True
    trains_head: ClassVar[bool] = True
    settings: ClassVar[tuple[str, ...]] = HeadMethod.settings

    def __init__(self) -> None:
        self._router = FrozenEndToEnd()
        self._clairvoyant: Outcomes | None = None

    def fit(self, trial: Trial) -> None:
        """Take the router of the trial, which trains where no other method has asked for it before."""
        self._router, self._clairvoyant = trial.fitted(FrozenEndToEnd), trial.clairvoyant

    def represent(self, calibration: Outcomes) -> ClusterError:
        """Soft, shrunk mean error in each cluster, over training and calibration prompts."""
        assert self._clairvoyant is not None
        assert calibration.error.shape[1] == self._clairvoyant.error.shape[1]
        pairs = zip(self._clairvoyant, calibration, strict=True)
        return self._router.represent(Outcomes(*(torch.cat(pair) for pair in pairs)))

    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """Inner product of cluster probabilities and cluster errors."""
        return self._router.estimate_error(embedding, features)

    def describe(self) -> dict[str, int | float]:
        """As the router."""
        return self._router.describe()
