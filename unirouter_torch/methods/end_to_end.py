"""The end-to-end router as a routing method: episodic training of its head."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.other_tables import OtherTable
from unirouter_torch.data.splits import Split
from unirouter_torch.errors import DataError
from unirouter_torch.methods.method import RoutingMethod, Tuning
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.cluster_error import estimate_error, sum_by_cluster
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import ClusterError, Embedding, ErrorMatrix
from unirouter_torch.training.head_training import shared_centroids, train_head, warm_start
from unirouter_torch.training.joint_tables import JointPart, JointTables, add_part
from unirouter_torch.training.starting_router import read_starting_router
from unirouter_torch.training.validation import ValidationSet, validation_set

FEWEST_LLMS_TO_HOLD_OUT_FROM = 10
FEWEST_PROMPTS = 4


class EndToEnd(RoutingMethod[ClusterError]):
    """Soft clusters on both sides: ``p(x) . Psi(h)``, with ``Psi`` formed through the same ``p``, trained together.

    The head starts from K-means or from a trained router, and trains on episodes that look like onboarding (see
    :class:`~unirouter_torch.training.episodes.EpisodeDataset`), of this table and of others beside it. The weights of
    the least cross-entropy of the training LLMs on this table's validation prompts are kept, so that a table with
    little to learn from trains for a few steps only.

    Args:
        config: The run.
        log_folder: Where learning curves go; no logs and no learning curves without it.
        others: Other tables to train on as well.
    """

    name: ClassVar[str] = "end_to_end"

    def __init__(self, config: TrainConfig, log_folder: Path | None, others: Sequence[OtherTable] = ()) -> None:
        self.config = config
        self.log_folder = log_folder
        self.others = others
        self.head = ClusterHead(1, 1)
        self.encoder_step: int | None = None
        self._step = 0

    def fit(self, train: Outcomes, tuning: Tuning) -> None:
        """Train the head.

        Raises:
            DataError: There are fewer than 4 training prompts.
            ConfigError: The hardware that ``trainer`` asks for is not there.
        """
        num_prompts = train.embedding.shape[0]
        if num_prompts < FEWEST_PROMPTS:
            raise DataError(f"training prompts: got {num_prompts}, expected at least {FEWEST_PROMPTS}. Add outcomes.")
        held_out, kept = self._hold_out(train.error.shape[1], tuning.seed)
        head = self._warm_start(train, tuning)
        tables = [train.of_llms(kept), *(other.train for other in self.others)]
        validation = self._validation(train, tuning, held_out, kept)
        self._step = train_head(head, tables, validation, self.config, seed=tuning.seed, log_folder=self.log_folder)
        self.head = head

    @torch.inference_mode()
    def represent(self, calibration: Outcomes) -> ClusterError:
        """Soft, shrunk mean error of each LLM in each cluster."""
        return represent_by(self.head, calibration)

    @torch.inference_mode()
    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """Inner product of cluster probabilities and cluster errors."""
        return estimate_error(self.head(embedding), features)

    def describe(self) -> dict[str, int | float]:
        """Number of clusters, learned shrinkage [prompts], and the training step whose weights were kept.

        With it, where the encoder was trained as well, the step of that training.
        """
        found = describe_head(self.head, self._step)
        return found if self.encoder_step is None else found | {"encoder_step": self.encoder_step}

    def _hold_out(self, num_llms: int, seed: int) -> tuple[Int[Tensor, " held_out"], Int[Tensor, " kept"]]:
        fraction = self.config.episodes.held_out_fraction
        if self.log_folder is None or fraction == 0 or num_llms < FEWEST_LLMS_TO_HOLD_OUT_FROM:
            num_held_out = 0
        else:
            num_held_out = max(2, round(fraction * num_llms))
        order = torch.randperm(num_llms, generator=torch.Generator().manual_seed(seed))
        return order[:num_held_out].sort().values, order[num_held_out:].sort().values

    def _warm_start(self, train: Outcomes, tuning: Tuning) -> ClusterHead:
        if start := read_starting_router(self.config):
            return start.head
        embeddings = [train.embedding, *(other.train.embedding for other in self.others)]
        num_clusters = max(1, min(self.config.head.num_clusters, sum(map(len, embeddings)) // 4))
        if self.others:
            centroids = shared_centroids(embeddings, num_clusters, tuning.seed, tuning.form_dim)
        else:
            centroids = tuning.centroids(num_clusters)
        return warm_start(centroids, self.config, tuning.form_dim)

    def _validation(
        self, train: Outcomes, tuning: Tuning, held_out: Int[Tensor, " held_out"], kept: Int[Tensor, " kept"]
    ) -> list[ValidationSet]:
        groups = {"held_out_llms": held_out, "training_llms": kept}
        return [
            validation_set(
                name,
                train.of_llms(llms),
                tuning.validation.of_llms(llms),
                tuning.cost[llms],
                num_calibration=tuning.num_calibration,
                seed=tuning.seed,
                decides=name == "training_llms",
            )
            for name, llms in groups.items()
            if len(llms) > 0
        ]


def represent_by(head: ClusterHead, calibration: Outcomes) -> ClusterError:
    """Cluster errors of the LLMs in ``calibration`` under a trained head."""
    return head.cluster_error(sum_by_cluster(head(calibration.embedding), calibration.error, calibration.observed))


def describe_head(head: ClusterHead, step: int) -> dict[str, int | float]:
    """What a training of the head led to, for the report."""
    return {"num_clusters": head.num_clusters, "shrinkage": round(head.shrinkage.item(), 3), "step": step}


def tables_of_trial(texts: Sequence[str], split: Split, trial: Trial, others: Sequence[OtherTable] = ()) -> JointTables:
    """The table of a trial, which alone decides, and the training prompts of others.

    Args:
        texts: All prompts of the table.
        split: Which of them train and validate.
        trial: The outcomes of this split.
        others: Other tables to train on.
    """
    tuning = trial.tuning
    joint = JointTables(
        texts=list(texts),
        train=[JointPart(trial.train, split.train_prompts)],
        validation=[JointPart(tuning.validation, split.validation_prompts)],
        num_calibration=tuning.num_calibration,
        seed=tuning.seed,
    )
    for other in others:
        joint.train.append(add_part(joint.texts, other.train, other.train_texts))
    return joint
