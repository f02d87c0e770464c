"""K-means clusters of prompts, the common ground of several methods."""

import functools
import itertools
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from sklearn.cluster import KMeans
from torch import Tensor

from unirouter_torch.routing.cluster_error import ClusterSums, sum_by_cluster
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Centroids, ClusterProbability, Embedding

NUM_DRAWN = 7
"""Prompts to choose each next start of K-means from, as many as scikit-learn draws for 300 clusters."""


def centroids_of(embedding: Embedding, seed: int) -> Callable[[int], Centroids]:
    """K-means of some prompts (scikit-learn, one start), for any number of clusters.

    All numbers share one draw of k-means++: the first ``k`` prompts that it draws start ``k`` clusters.

    Args:
        embedding: One vector for each prompt.
        seed: Seed of the draw.

    Returns:
        Centroids for a number of clusters, in [1, number of prompts]; computed once a number, and the same whichever
        numbers were asked for before.

    Source: k-means++ (Arthur and Vassilvitskii, 2007), in scikit-learn's greedy form; that one draw serves all numbers
    is this project's.
    """
    draws = _draw_apart(embedding, seed)
    drawn: list[int] = []

    @functools.cache
    def centroids(num_clusters: int) -> Centroids:
        drawn.extend(itertools.islice(draws, max(0, num_clusters - len(drawn))))
        start = embedding[drawn[:num_clusters]].numpy()
        kmeans = KMeans(n_clusters=num_clusters, init=start, n_init=1).fit(embedding.numpy())
        return torch.from_numpy(kmeans.cluster_centers_).to(embedding.dtype)

    return centroids


def _draw_apart(embedding: Embedding, seed: int) -> Iterator[int]:
    """Prompts one after another: of a few drawn by squared distance to those before, the one that leaves the least."""
    generator = torch.Generator().manual_seed(seed)
    centred = embedding - embedding.mean(0)
    square = centred.square().sum(-1)

    def squared_distance(prompts: Tensor) -> Float[Tensor, "drawn prompt"]:
        distance = square + square[prompts, None] - 2 * centred[prompts] @ centred.T
        # not zero, so that something can be drawn where there are fewer different prompts than clusters
        return distance.clamp_(min=torch.finfo(distance.dtype).tiny)

    prompts = torch.randint(len(embedding), (1,), generator=generator)
    left = squared_distance(prompts)
    while True:
        best = left.sum(-1).argmin()
        yield int(prompts[best])
        nearest = left[best]
        prompts = torch.multinomial(nearest, NUM_DRAWN, replacement=True, generator=generator)
        left = torch.minimum(squared_distance(prompts), nearest)


def assign_to_nearest(embedding: Float[Tensor, "prompt columns"], centroids: Centroids) -> ClusterProbability:
    """One-hot assignment of each prompt to its nearest centroid (Euclidean), in the columns that centroids have."""
    nearest = torch.cdist(embedding[:, : centroids.shape[1]], centroids).argmin(-1)
    return torch.nn.functional.one_hot(nearest, centroids.shape[0]).to(embedding.dtype)


def sum_by_nearest(calibration: Outcomes, centroids: Centroids) -> ClusterSums:
    """Sums of the observed errors over the calibration prompts nearest to each centroid."""
    assignment = assign_to_nearest(calibration.embedding, centroids)
    return sum_by_cluster(assignment, calibration.error, calibration.observed)
