"""UniRoute with K-means clusters: hard clusters of prompts, mean error per cluster."""

from collections.abc import Iterator
from typing import ClassVar

import torch

from unirouter_torch.methods.method import RoutingMethod, choose_by_area, cluster_counts
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.cluster_error import cluster_error, estimate_error
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Centroids, ClusterError, Embedding, ErrorMatrix
from unirouter_torch.training.clustering import assign_to_nearest, sum_by_nearest

NUM_CLUSTERS = (5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300)
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
    title: ClassVar[str] = "UniRoute K-means"
    place: ClassVar[int] = 4
    has_clusters: ClassVar[bool] = True

    def __init__(self) -> None:
        self.centroids: Centroids = torch.empty(0, 0)
        self.shrinkage = 0.0

    def fit(self, trial: Trial) -> None:
        """Cluster the training prompts for every number of clusters and keep the best by area."""
        tuning = trial.tuning
        sizes = cluster_counts(NUM_CLUSTERS, trial)
        centroids = {size: tuning.centroids(size) for size in sizes}
        assignment = {size: assign_to_nearest(tuning.validation.embedding, centroids[size]) for size in sizes}

        def estimate(calibration: Outcomes) -> Iterator[ErrorMatrix]:
            for size in sizes:
                sums = sum_by_nearest(calibration, centroids[size])
                for shrinkage in SHRINKAGE:
                    yield estimate_error(assignment[size], cluster_error(sums, shrinkage))

        candidates = [(size, shrinkage) for size in sizes for shrinkage in SHRINKAGE]
        chosen, self.shrinkage = choose_by_area(candidates, estimate, trial)
        self.centroids = centroids[chosen]

    def represent(self, calibration: Outcomes) -> ClusterError:
        """Mean error of each LLM in each cluster."""
        return cluster_error(sum_by_nearest(calibration, self.centroids), self.shrinkage)

    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """The LLM's error in the cluster of the prompt."""
        return estimate_error(assign_to_nearest(embedding, self.centroids), features)

    def describe(self) -> dict[str, int | float]:
        """The chosen number of clusters and shrinkage [prompts]."""
        return {"num_clusters": self.centroids.shape[0], "shrinkage": self.shrinkage}
