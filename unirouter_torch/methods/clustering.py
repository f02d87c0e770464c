"""K-means clusters of prompts, the common ground of several methods."""

import torch
from sklearn.cluster import KMeans

from unirouter_torch.shapes import Centroids, ClusterProbability, Embedding


def fit_centroids(embedding: Embedding, num_clusters: int, seed: int) -> Centroids:
    """Centroids of K-means (scikit-learn, k-means++, one start) on the embeddings."""
    kmeans = KMeans(n_clusters=num_clusters, n_init=1, random_state=seed)
    return torch.from_numpy(kmeans.fit(embedding.numpy()).cluster_centers_).to(embedding.dtype)


def assign_to_nearest(embedding: Embedding, centroids: Centroids) -> ClusterProbability:
    """One-hot assignment of each prompt to its nearest centroid (Euclidean)."""
    nearest = torch.cdist(embedding, centroids).argmin(-1)
    return torch.nn.functional.one_hot(nearest, centroids.shape[0]).to(embedding.dtype)
