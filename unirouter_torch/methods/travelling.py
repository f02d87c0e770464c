"""The travelling router: trained on other tables alone, it serves this one from calibration outcomes."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.other_tables import OtherTable
from unirouter_torch.methods.head_method import HeadMethod
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.head import ClusterHead
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


class Travelling(HeadMethod):
    """The end-to-end router without any training on the table that it serves.

    No parameter of the head belongs to an LLM or a table, so one that was trained on other tables represents new LLMs
    on new prompts by their calibration outcomes.
    """

    name: ClassVar[str] = "travelling"
    title: ClassVar[str] = "Travelling"
    place: ClassVar[int] = 14
    needs_other_tables: ClassVar[bool] = True

    def fit(self, trial: Trial) -> None:
        """Train the head on the other tables; the outcomes of this one play no part."""
        self.head, self.steps["step"] = train_travelling_head(trial.others, trial.config, trial.tuning.seed)
