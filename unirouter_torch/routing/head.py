"""The soft cluster head: from an embedding to cluster probabilities."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unirouter_torch.routing.cluster_error import ClusterSums, cluster_error, expected_cluster_error
from unirouter_torch.routing.intervals import cluster_error_quantiles
from unirouter_torch.shapes import ClusterError, ClusterProbability, Embedding

FAR_SHARE = 0.01
"""Share of the training prompts that are less familiar than a prompt that counts as half far."""
FAR_WIDTH = 0.5
"""Width of the passage from near to far [standard deviations of the training prompts' familiarity]."""


class ClusterHead(nn.Module):
    """Cluster probabilities ``p(x) = softmax(A x + b)``, and the difficulty and shrinkage that go with these clusters.

    No parameter belongs to an LLM, so the head serves LLMs that it has never met.

    With :meth:`split_far` each cluster has a twin of the same difficulty, and the twins take the prompts that are
    unlike the training prompts: near and far clusters come with ``(1 - a) p(x)`` and ``a p(x)``, where ``a(x)`` rises
    from 0 to 1 as the familiarity ``logsumexp(A x + b)`` falls. What calibration prompts of a known kind say of a
    cluster is so not taken for what an LLM does on prompts of an unknown one.

    Args:
        dim: Length of an embedding.
        num_clusters: Number of clusters.

    Source: the learned map of UniRoute (arXiv:2502.08773); the familiarity is the energy score of Liu et al.
    (arXiv:2010.03759) with the opposite sign; learned difficulty, shrinkage and twins are this project's.
    """

    far: Float[Tensor, "2"] | None
    """Familiarity at which a prompt counts as half far, and the width of the passage; None without far clusters."""

    def __init__(self, dim: int, num_clusters: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, num_clusters)
        self.difficulty = nn.Parameter(torch.zeros(num_clusters))
        self.log_shrinkage = nn.Parameter(torch.zeros(()))
        self.register_buffer("far", None)

    @classmethod
    def from_centroids(
        cls, centroids: Float[Tensor, "cluster text_dim"], *, sharpness: float, shrinkage: float, form_dim: int = 0
    ) -> "ClusterHead":
        """A head that assigns softly to the nearest centroid: ``softmax(-sharpness / 2 * |x - centroid_k|^2)``.

        Args:
            centroids: One point for each cluster.
            sharpness: Inverse squared width of a cluster [1 / squared distance]; the larger, the harder.
            shrinkage: Initial shrinkage of cluster errors [prompts], positive.
            form_dim: Columns of an embedding after those of the centroids; they have no part in the start.
        """
        num_clusters, text_dim = centroids.shape
        head = cls(text_dim + form_dim, num_clusters)
        with torch.no_grad():
            head.linear.weight.zero_()
            head.linear.weight[:, :text_dim] = sharpness * centroids
            head.linear.bias.copy_(-sharpness / 2 * centroids.square().sum(-1))
            head.log_shrinkage.fill_(math.log(shrinkage))
        return head

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.linear.in_features

    @property
    def num_clusters(self) -> int:
        """Number of clusters, far ones included."""
        return self.linear.out_features * (1 if self.far is None else 2)

    @property
    def shrinkage(self) -> Float[Tensor, ""]:
        """Strength with which a cluster error is pulled to the one expected at the LLM's ability [prompts]."""
        return self.log_shrinkage.exp()

    @property
    def device(self) -> torch.device:
        """Where the head is."""
        return self.log_shrinkage.device

    def prior(self) -> tuple[float, ...]:
        """Log of the shrinkage, and the difficulty of each cluster: what cluster errors rest on beside the sums."""
        return (self.log_shrinkage.item(), *self.difficulty.tolist())

    @torch.no_grad()
    def split_far(self, embedding: Embedding) -> None:
        """Give each cluster a twin for prompts unlike these.

        Args:
            embedding: Training prompts, at least 2.
        """
        familiarity = self.linear(embedding).logsumexp(-1).sort().values
        middle = familiarity[int(FAR_SHARE * len(familiarity))]
        self.far = torch.stack([middle, (FAR_WIDTH * familiarity.std()).clamp(min=1e-6)])

    def forward(self, embedding: Embedding) -> ClusterProbability:
        """Cluster probabilities of prompts, the far clusters after the near ones."""
        logit = self.linear(embedding)
        probability: ClusterProbability = logit.softmax(-1)
        if self.far is None:
            return probability
        middle, width = self.far
        is_far = torch.sigmoid((middle - logit.logsumexp(-1, keepdim=True)) / width)
        return torch.cat([(1 - is_far) * probability, is_far * probability], -1)

    def cluster_error(self, sums: ClusterSums) -> ClusterError:
        """Cluster errors of LLMs, shrunk to those that the difficulty of the clusters lets expect."""
        return cluster_error(sums, self.shrinkage, self._expected(sums))

    def cluster_error_quantiles(self, sums: ClusterSums, levels: Sequence[float]) -> list[ClusterError]:
        """Quantiles of the belief about each cluster error at levels in (0, 1)."""
        return cluster_error_quantiles(sums, self.shrinkage, self._expected(sums), levels)

    def _expected(self, sums: ClusterSums) -> ClusterError:
        difficulty = self.difficulty if self.far is None else self.difficulty.repeat(2)
        return expected_cluster_error(sums, difficulty)
