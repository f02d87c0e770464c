"""UniRoute with K-means clusters: hard clusters of prompts, mean error per cluster."""

from typing import ClassVar

import torch

from unirouter_torch.methods.clustering import assign_to_nearest
from unirouter_torch.routing.cluster_error import cluster_error, estimate_error, sum_by_cluster
from unirouter_torch.routing.method import Outcomes, RoutingMethod, Tuning, choose_by_area
from unirouter_torch.shapes import Centroids, ClusterError, Embedding, ErrorMatrix

NUM_CLUSTERS = (5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 250, 300)
SHRINKAGE = (0.0, 5.0)


class UniRouteKMeans(RoutingMethod[ClusterError]):
    """Estimates an LLM's error by its mean over the calibration prompts of the prompt's cluster.

    ``Phi(x)`` is one-hot at the nearest centroid of K-means on training prompts; ``Psi(h)`` is the mean error of ``h``
    on the calibration prompts of each cluster. The number of clusters is chosen by area on seen LLMs, and so is
    whether to shrink thin clusters toward the LLM's overall error (0 or 5 prompts; 0 is the paper's form).

    Source: UniRoute (arXiv:2502.08773), K-means version. What an empty cluster takes is not said there: the LLM's
    overall error here.
    """

    name: ClassVar[str] = "kmeans"

    def __init__(self) -> None:
        self.centroids: Centroids = torch.empty(0, 0)
        self.shrinkage = 0.0

    def fit(self, train: Outcomes, tuning: Tuning) -> None:
        """Cluster the training prompts for every number of clusters and keep the best by area."""
        sizes = [k for k in NUM_CLUSTERS if k <= min(train.embedding.shape[0], tuning.num_calibration)] or [1]
        all_centroids = {k: tuning.centroids(k) for k in sizes}

        def estimate(candidate: tuple[int, float], calibration: Outcomes) -> ErrorMatrix:
            num_clusters, shrinkage = candidate
            centroids = all_centroids[num_clusters]
            return _estimate(tuning.validation.embedding, _represent(calibration, centroids, shrinkage), centroids)

        candidates = [(k, shrinkage) for k in sizes for shrinkage in SHRINKAGE]
        num_clusters, self.shrinkage = choose_by_area(candidates, estimate, train, tuning)
        self.centroids = all_centroids[num_clusters]

    def represent(self, calibration: Outcomes) -> ClusterError:
        """Mean error of each LLM in each cluster."""
        return _represent(calibration, self.centroids, self.shrinkage)

    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """The LLM's error in the cluster of the prompt."""
        return _estimate(embedding, features, self.centroids)

    def describe(self) -> dict[str, int | float]:
        """The chosen number of clusters and shrinkage [prompts]."""
        return {"num_clusters": self.centroids.shape[0], "shrinkage": self.shrinkage}


def _represent(calibration: Outcomes, centroids: Centroids, shrinkage: float) -> ClusterError:
    assignment = assign_to_nearest(calibration.embedding, centroids)
    return cluster_error(sum_by_cluster(assignment, calibration.error, calibration.observed), shrinkage)


def _estimate(embedding: Embedding, features: ClusterError, centroids: Centroids) -> ErrorMatrix:
    return estimate_error(assign_to_nearest(embedding, centroids), features)
