"""The source oracle: knows where a prompt comes from, and how every LLM does there."""

from typing import ClassVar

import torch
from torch.nn.functional import one_hot

from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.cluster_error import cluster_error, estimate_error, sum_by_cluster
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import ClusterError, ClusterProbability, Embedding, ErrorMatrix


class SourceOracle(RoutingMethod[ClusterError]):
    """Estimates an LLM's error by its true mean error over the test prompts of the prompt's source.

    What a router that sees nothing but the source could reach at best; a router that reads the prompt may pass it.
    """

    name: ClassVar[str] = "source_oracle"
    title: ClassVar[str] = "Source oracle"
    place: ClassVar[int] = 18
    is_reference: ClassVar[bool] = True
    is_oracle: ClassVar[bool] = True

    def __init__(self) -> None:
        self._features: ClusterError = torch.empty(0, 0)
        self._source: ClusterProbability = torch.empty(0, 0)

    def fit(self, trial: Trial) -> None:
        """Look at the outcomes of the unseen LLMs on the test prompts, and at the sources of these."""
        truth = trial.test
        self._source = one_hot(trial.test_source).to(truth.error.dtype)
        self._features = cluster_error(sum_by_cluster(self._source, truth.error, truth.observed), 0.0)

    def represent(self, calibration: Outcomes) -> ClusterError:
        """True mean error of each LLM in each source, its overall error where it has no outcome there."""
        return self._features

    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """The LLM's true mean error in the source of the prompt."""
        assert self._source.shape[0] == embedding.shape[0]
        return estimate_error(self._source, features)
