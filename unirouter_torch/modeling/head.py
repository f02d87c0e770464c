"""The soft cluster head: from an embedding to cluster probabilities."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unirouter_torch.routing.cluster_error import ClusterSums, cluster_error, expected_cluster_error
from unirouter_torch.routing.intervals import cluster_error_quantile
from unirouter_torch.shapes import ClusterError, ClusterProbability, Embedding


class ClusterHead(nn.Module):
    """Cluster probabilities ``p(x) = softmax(A x + b)``, and the difficulty and shrinkage that go with these clusters.

    No parameter belongs to an LLM, so the head serves LLMs that it has never met.

    Args:
        dim: Length of an embedding.
        num_clusters: Number of clusters.

    Source: the learned map of UniRoute (arXiv:2502.08773); learned difficulty and shrinkage are this project's.
    """

    def __init__(self, dim: int, num_clusters: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, num_clusters)
        self.difficulty = nn.Parameter(torch.zeros(num_clusters))
        self.log_shrinkage = nn.Parameter(torch.zeros(()))

    @classmethod
    def from_centroids(
        cls, centroids: Float[Tensor, "cluster dim"], *, sharpness: float, shrinkage: float
    ) -> "ClusterHead":
        """A head that assigns softly to the nearest centroid: ``softmax(-sharpness / 2 * |x - centroid_k|^2)``.

        Args:
            centroids: One point for each cluster.
            sharpness: Inverse squared width of a cluster [1 / squared distance]; the larger, the harder.
            shrinkage: Initial shrinkage of cluster errors [prompts], positive.
        """
        head = cls(centroids.shape[1], centroids.shape[0])
        with torch.no_grad():
            head.linear.weight.copy_(sharpness * centroids)
            head.linear.bias.copy_(-sharpness / 2 * centroids.square().sum(-1))
            head.log_shrinkage.fill_(math.log(shrinkage))
        return head

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.linear.in_features

    @property
    def num_clusters(self) -> int:
        """Number of clusters."""
        return self.linear.out_features

    @property
    def shrinkage(self) -> Float[Tensor, ""]:
        """Strength with which a cluster error is pulled to the one expected at the LLM's ability [prompts]."""
        return self.log_shrinkage.exp()

    def forward(self, embedding: Embedding) -> ClusterProbability:
        """Cluster probabilities of prompts."""
        probability: ClusterProbability = self.linear(embedding).softmax(-1)
        return probability

    def cluster_error(self, sums: ClusterSums) -> ClusterError:
        """Cluster errors of LLMs, shrunk to those that the difficulty of the clusters lets expect."""
        return cluster_error(sums, self.shrinkage, expected_cluster_error(sums, self.difficulty))

    def cluster_error_quantile(self, sums: ClusterSums, level: float) -> ClusterError:
        """Quantile of the belief about each cluster error at a level in (0, 1)."""
        return cluster_error_quantile(sums, self.shrinkage, expected_cluster_error(sums, self.difficulty), level)
