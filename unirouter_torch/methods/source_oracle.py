"""The source oracle: knows where a prompt comes from, and how every LLM does there."""

from typing import ClassVar

from unirouter_torch.methods.method import RoutingMethod, Tuning
from unirouter_torch.routing.cluster_error import cluster_error, estimate_error, sum_by_cluster
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import ClusterError, ClusterProbability, Embedding, ErrorMatrix


class SourceOracle(RoutingMethod[ClusterError]):
    """Estimates an LLM's error by its true mean error over the test prompts of the prompt's source.

    What a router that sees nothing but the source could reach at best; a router that reads the prompt may pass it.

    Args:
        truth: Outcomes of the LLMs on the very prompts that will be routed, in that order.
        source: One-hot source of each of these prompts.
    """

    name: ClassVar[str] = "source_oracle"

    def __init__(self, truth: Outcomes, source: ClusterProbability) -> None:
        self._truth = truth
        self._source = source

    def fit(self, train: Outcomes, tuning: Tuning) -> None:
        """Nothing to learn."""

    def represent(self, calibration: Outcomes) -> ClusterError:
        """True mean error of each LLM in each source, its overall error where it has no outcome there."""
        return cluster_error(sum_by_cluster(self._source, self._truth.error, self._truth.observed), 0.0)

    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """The LLM's true mean error in the source of the prompt."""
        assert self._source.shape[0] == embedding.shape[0]
        return estimate_error(self._source, features)
