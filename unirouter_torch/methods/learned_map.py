"""UniRoute's learned map: a trained soft assignment of prompts over hard cluster errors."""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unirouter_torch.methods.method import RoutingMethod, choose_by_area, cluster_counts
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.cluster_error import cluster_error, estimate_error
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Centroids, ClusterError, Embedding, ErrorMatrix
from unirouter_torch.training.clustering import sum_by_nearest

NUM_CLUSTERS = (5, 10, 20, 30, 50, 75, 100)
SHARPNESS = 10.0
NUM_STEPS = 300
PROMPTS_PER_STEP = 512
LEARNING_RATE = 3e-3
PROBABILITY_FLOOR = 1e-4


class LearnedMap(RoutingMethod[ClusterError]):
    """Estimates ``softmax(A x + b) . Psi(h)`` with a trained ``A``, ``b`` and the errors ``Psi`` of K-means clusters.

    ``Psi(h)`` is, as in the K-means version, the mean error of ``h`` on the calibration prompts of each hard cluster;
    it does not depend on the trained map. The map minimises the cross-entropy over training prompts and seen LLMs,
    whose ``Psi`` comes from the validation prompts. The number of clusters is chosen by area on seen LLMs.

    Source: UniRoute (arXiv:2502.08773), LearnedMap. Not said there, and this project's: the start at a soft assignment
    to the nearest centroid, the bias, and the schedule (Adam, 300 steps of 512 prompts).
    """

    name: ClassVar[str] = "learned_map"
    title: ClassVar[str] = "UniRoute LearnedMap"
    place: ClassVar[int] = 7
    has_clusters: ClassVar[bool] = True

    def __init__(self) -> None:
        self.centroids: Centroids = torch.empty(0, 0)
        self.map = nn.Linear(1, 1)

    def fit(self, trial: Trial) -> None:
        """Train a map for every number of clusters and keep the best by area."""
        tuning = trial.tuning
        sizes = cluster_counts(NUM_CLUSTERS, trial)
        all_centroids = [tuning.centroids(size) for size in sizes]
        seen = [cluster_error(sum_by_nearest(tuning.validation, centroids), 0.0) for centroids in all_centroids]
        # surface features, which centroids have no part in, start without weight
        maps = soft_nearest(torch.nn.functional.pad(torch.cat(all_centroids), (0, tuning.form_dim)))
        _train_maps(maps, seen, trial.train, tuning.seed)
        with torch.no_grad():
            probabilities = [part.softmax(-1) for part in maps(tuning.validation.embedding).split(sizes, -1)]

        def estimate(calibration: Outcomes) -> Iterator[ErrorMatrix]:
            for centroids, probability in zip(all_centroids, probabilities, strict=True):
                yield estimate_error(probability, cluster_error(sum_by_nearest(calibration, centroids), 0.0))

        chosen = choose_by_area(list(range(len(sizes))), estimate, trial)
        self.centroids = all_centroids[chosen]
        self.map = _linear(*(torch.split(part.detach(), sizes)[chosen] for part in (maps.weight, maps.bias)))

    def represent(self, calibration: Outcomes) -> ClusterError:
        """Mean error of each LLM in each hard cluster."""
        return cluster_error(sum_by_nearest(calibration, self.centroids), 0.0)

    @torch.inference_mode()
    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """Inner product of the trained soft assignment and the hard cluster errors."""
        return estimate_error(self.map(embedding).softmax(-1), features)

    def describe(self) -> dict[str, int | float]:
        """The chosen number of clusters."""
        return {"num_clusters": self.centroids.shape[0]}


def soft_nearest(centroids: Centroids) -> nn.Linear:
    """Logits ``-sharpness / 2 * |x - centroid_k|^2`` with sharpness 10, up to a constant of the prompt."""
    return _linear(SHARPNESS * centroids, -SHARPNESS / 2 * centroids.square().sum(-1))


def _linear(weight: Float[Tensor, "out dim"], bias: Float[Tensor, " out"]) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.load_state_dict({"weight": weight, "bias": bias})
    return linear


def _train_maps(maps: nn.Linear, cluster_errors: Sequence[Tensor], train: Outcomes, seed: int) -> None:
    """Train several maps, one below the other in one, on the same prompts at once; none depends on another."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(maps.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, NUM_STEPS)
    num_prompts, sizes = train.embedding.shape[0], [error.shape[1] for error in cluster_errors]
    for _ in range(NUM_STEPS):
        batch = train.of_prompts(torch.randint(num_prompts, (PROMPTS_PER_STEP,), generator=generator))
        logits = maps(batch.embedding).split(sizes, -1)
        estimates = [part.softmax(-1) @ error.T for part, error in zip(logits, cluster_errors, strict=True)]
        optimizer.zero_grad()
        _cross_entropy(torch.stack(estimates), batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _cross_entropy(estimate: Float[Tensor, "map prompt llm"], batch: Outcomes) -> Float[Tensor, ""]:
    """Summed over the maps, so that each has the gradient of its own mean."""
    estimate = estimate.clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    loss = -torch.lerp((1 - estimate).log(), estimate.log(), batch.error)
    return (loss * batch.observed).sum() / batch.observed.sum().clamp(min=1)
