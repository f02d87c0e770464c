"""K-means clusters of prompts, the common ground of several methods."""

from collections.abc import Sequence

import torch
from sklearn.cluster import KMeans

from unirouter_torch.routing.cluster_error import ClusterSums, sum_by_cluster
from unirouter_torch.routing.method import Outcomes, Tuning
from unirouter_torch.shapes import Centroids, ClusterProbability, Embedding


def fit_centroids(embedding: Embedding, num_clusters: int, seed: int) -> Centroids:
    """Centroids of K-means (scikit-learn, k-means++, one start) on the embeddings."""
    kmeans = KMeans(n_clusters=num_clusters, n_init=1, random_state=seed)
    return torch.from_numpy(kmeans.fit(embedding.numpy()).cluster_centers_).to(embedding.dtype)


def assign_to_nearest(embedding: Embedding, centroids: Centroids) -> ClusterProbability:
    """One-hot assignment of each prompt to its nearest centroid (Euclidean)."""
    nearest = torch.cdist(embedding, centroids).argmin(-1)
    return torch.nn.functional.one_hot(nearest, centroids.shape[0]).to(embedding.dtype)


def sum_by_nearest(calibration: Outcomes, centroids: Centroids) -> ClusterSums:
    """Sums of the observed errors over the calibration prompts nearest to each centroid."""
    assignment = assign_to_nearest(calibration.embedding, centroids)
    return sum_by_cluster(assignment, calibration.error, calibration.observed)


def cluster_counts(grid: Sequence[int], train: Outcomes, tuning: Tuning) -> list[int]:
    """The numbers of clusters of a grid that leave a training and a calibration prompt to each; one where none does."""
    return [number for number in grid if number <= min(train.embedding.shape[0], tuning.num_calibration)] or [1]
