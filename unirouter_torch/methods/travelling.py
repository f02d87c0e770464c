"""The travelling router: trained on other tables alone, it serves this one from calibration outcomes."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.other_tables import OtherTable
from unirouter_torch.methods.end_to_end import describe_head, represent_by
from unirouter_torch.methods.method import RoutingMethod, Tuning
from unirouter_torch.routing.cluster_error import estimate_error
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import ClusterError, Embedding, ErrorMatrix
from unirouter_torch.training.head_training import shared_centroids, train_head, warm_start
from unirouter_torch.training.starting_router import read_starting_router
from unirouter_torch.training.validation import validation_set


def train_travelling_head(
    others: Sequence[OtherTable], config: TrainConfig, seed: int, *, log_folder: Path | None = None
) -> tuple[ClusterHead, int]:
    """Train a head on several tables; the mean of their validation losses decides which step is kept.

    Args:
        others: The tables, at least one.
        config: The run.
        seed: Seed of the K-means warm start and of the episodes.
        log_folder: Where learning curves and the checkpoint go; neither of them without it.

    Returns:
        The head, and the step whose weights were kept.
    """
    embeddings = [other.train.embedding for other in others]
    num_clusters = max(1, min(config.head.num_clusters, sum(map(len, embeddings)) // 4))
    start, form_dim = read_starting_router(config), others[0].form_dim
    if start:
        head = start.head
    else:
        head = warm_start(shared_centroids(embeddings, num_clusters, seed, form_dim), config, form_dim)
    validation = [
        validation_set(
            other.name,
            other.train,
            other.validation,
            other.cost,
            num_calibration=config.data.num_calibration,
            seed=seed,
        )
        for other in others
    ]
    step = train_head(head, [other.train for other in others], validation, config, seed=seed, log_folder=log_folder)
    return head, step


class Travelling(RoutingMethod[ClusterError]):
    """The end-to-end router without any training on the table that it serves.

    No parameter of the head belongs to an LLM or a table, so one that was trained on other tables represents new LLMs
    on new prompts by their calibration outcomes.

    Args:
        config: The run.
        others: The tables to train on.
    """

    name: ClassVar[str] = "travelling"

    def __init__(self, config: TrainConfig, others: Sequence[OtherTable]) -> None:
        self.config = config
        self.others = others
        self.head = ClusterHead(1, 1)
        self._step = 0

    def fit(self, train: Outcomes, tuning: Tuning) -> None:
        """Train the head on the other tables; the outcomes of this one play no part."""
        self.head, self._step = train_travelling_head(self.others, self.config, tuning.seed)

    @torch.inference_mode()
    def represent(self, calibration: Outcomes) -> ClusterError:
        """Soft, shrunk mean error of each LLM in each cluster."""
        return represent_by(self.head, calibration)

    @torch.inference_mode()
    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """Inner product of cluster probabilities and cluster errors."""
        return estimate_error(self.head(embedding), features)

    def describe(self) -> dict[str, int | float]:
        """Number of clusters, learned shrinkage [prompts], and the training step whose weights were kept."""
        return describe_head(self.head, self._step)
