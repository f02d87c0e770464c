"""The end-to-end router in its stages: a trained head, then a trained encoder, then chosen calibration prompts."""

from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import DataError
from unirouter_torch.methods.chosen_prompts import choose_calibration
from unirouter_torch.methods.head_method import HeadMethod
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.shapes import Embedding
from unirouter_torch.training.head_training import shared_centroids, train_head, warm_start
from unirouter_torch.training.joint import train_jointly
from unirouter_torch.training.joint_tables import JointPart, JointTables, add_part
from unirouter_torch.training.starting_router import load_encoder_to_start_from, read_starting_router
from unirouter_torch.training.validation import ValidationSet, validation_set

FEWEST_LLMS_TO_HOLD_OUT_FROM = 10
FEWEST_PROMPTS = 4


class FrozenEndToEnd(HeadMethod):
    """The end-to-end router over the frozen encoder: a head trained on episodes.

    The head starts from K-means or from a trained router, and trains on episodes that look like onboarding (see
    :class:`~unirouter_torch.training.episodes.EpisodeDataset`), of this table and of others beside it. The weights of
    the least cross-entropy of the training LLMs on this table's validation prompts are kept, so that a table with
    little to learn from trains for a few steps only.
    """

    name: ClassVar[str] = "end_to_end_frozen"
    title: ClassVar[str] = "End-to-end, frozen encoder"
    place: ClassVar[int] = 11
    is_stage: ClassVar[bool] = True

    def fit(self, trial: Trial) -> None:
        """Train the head, and write learning curves where the trial has a folder for them; that changes no number.

        Raises:
            DataError: There are fewer than 4 training prompts.
            ConfigError: The hardware that ``trainer`` asks for is not there.
        """
        num_prompts = trial.train.embedding.shape[0]
        if num_prompts < FEWEST_PROMPTS:
            raise DataError(f"training prompts: got {num_prompts}, expected at least {FEWEST_PROMPTS}. Add outcomes.")
        held_out, kept = _hold_out(trial)
        head = _warm_start(trial)
        tables = [trial.train.of_llms(kept), *(other.train for other in trial.others)]
        validation = _validation(trial, held_out, kept)
        seed, log_folder = trial.tuning.seed, trial.log_folder
        self.steps["step"] = train_head(head, tables, validation, trial.config, seed=seed, log_folder=log_folder)
        self.head = head


class DrawnEndToEnd(HeadMethod):
    """The end-to-end router with its encoder trained as ``encoder_training`` says, and calibration prompts at random.

    Attributes:
        encoder: The trained encoder; None where ``encoder_training.mode`` is ``frozen``.
    """

    name: ClassVar[str] = "end_to_end_random"
    title: ClassVar[str] = "End-to-end, calibration prompts at random"
    place: ClassVar[int] = 12
    is_stage: ClassVar[bool] = True
    settings: ClassVar[tuple[str, ...]] = (*HeadMethod.settings, "encoder_training")

    def __init__(self) -> None:
        super().__init__()
        self.encoder: PromptEncoder | None = None
        self._embedding: Embedding | None = None

    def fit(self, trial: Trial) -> None:
        """Train the head over the frozen encoder, and then both together.

        Raises:
            DataError: There are fewer than 4 training prompts.
            ConfigError: The encoder cannot be trained in this way, or the hardware is not there.
        """
        frozen, config = trial.fitted(FrozenEndToEnd), trial.config
        self.head, self.steps = frozen.head, frozen.steps
        if config.encoder_training.mode == "frozen":
            return
        log_folder = None if trial.log_folder is None else trial.log_folder / "encoder"
        encoder = load_encoder_to_start_from(config)
        tuned = train_jointly(config, encoder, frozen.head, _tables_of(trial), log_folder=log_folder)
        self.encoder, self.head = tuned.encoder, tuned.head
        self.steps = frozen.steps | {"encoder_step": tuned.step}

    def view(self, trial: Trial) -> Trial:
        """The trial over the embeddings of the trained encoder, which are computed once."""
        if self.encoder is None:
            return trial
        if self._embedding is None:
            show_progress = trial.log_folder is not None
            self._embedding = self.encoder.embed(trial.table.prompt_texts, show_progress=show_progress)
            self.encoder.cpu()
        return trial.with_embedding(self._embedding)


class EndToEnd(HeadMethod):
    """The router that a run saves: with its encoder trained and its calibration prompts chosen where the config says.

    Attributes:
        encoder: The trained encoder; None where ``encoder_training.mode`` is ``frozen``.
    """

    name: ClassVar[str] = "end_to_end"
    title: ClassVar[str] = "End-to-end"
    place: ClassVar[int] = 13
    has_clusters: ClassVar[bool] = True
    settings: ClassVar[tuple[str, ...]] = (*DrawnEndToEnd.settings, "data.calibration")

    def __init__(self) -> None:
        super().__init__()
        self.encoder: PromptEncoder | None = None
        self._drawn = DrawnEndToEnd()
        self._chosen: Int[Tensor, " chosen"] | None = None

    def fit(self, trial: Trial) -> None:
        """Train what the config says, and choose calibration prompts where it says so.

        Raises:
            DataError: There are fewer than 4 training prompts.
            ConfigError: The encoder cannot be trained in this way, or the hardware is not there.
        """
        self._drawn = trial.fitted(DrawnEndToEnd)
        self.head, self.steps, self.encoder = self._drawn.head, self._drawn.steps, self._drawn.encoder
        if trial.config.data.calibration == "selected":
            self._chosen, self.adjustment = choose_calibration(self.head, self._drawn.view(trial))

    def view(self, trial: Trial) -> Trial:
        """The trial over the embeddings of the trained encoder, with the chosen calibration prompts."""
        view = self._drawn.view(trial)
        return view if self._chosen is None else view.with_calibration(self._chosen)


def _hold_out(trial: Trial) -> tuple[Int[Tensor, " held_out"], Int[Tensor, " kept"]]:
    """Seen LLMs that no step uses, for the learning curves, and those that train."""
    num_llms, fraction = trial.train.error.shape[1], trial.config.episodes.held_out_fraction
    num_held_out = 0
    if fraction > 0 and num_llms >= FEWEST_LLMS_TO_HOLD_OUT_FROM:
        num_held_out = max(2, round(fraction * num_llms))
    order = torch.randperm(num_llms, generator=torch.Generator().manual_seed(trial.tuning.seed))
    return order[:num_held_out].sort().values, order[num_held_out:].sort().values


def _warm_start(trial: Trial) -> ClusterHead:
    config = trial.config
    if start := read_starting_router(config):
        return start.head
    embeddings = [trial.train.embedding, *(other.train.embedding for other in trial.others)]
    num_clusters = max(1, min(config.head.num_clusters, sum(map(len, embeddings)) // 4))
    tuning = trial.tuning
    if trial.others:
        centroids = shared_centroids(embeddings, num_clusters, tuning.seed, tuning.form_dim)
    else:
        centroids = tuning.centroids(num_clusters)
    return warm_start(centroids, config, tuning.form_dim)


def _validation(trial: Trial, held_out: Int[Tensor, " held_out"], kept: Int[Tensor, " kept"]) -> list[ValidationSet]:
    tuning, groups = trial.tuning, {"held_out_llms": held_out, "training_llms": kept}
    return [
        validation_set(
            name,
            trial.train.of_llms(llms),
            tuning.validation.of_llms(llms),
            tuning.cost[llms],
            num_calibration=tuning.num_calibration,
            seed=tuning.seed,
            decides=name == "training_llms",
        )
        for name, llms in groups.items()
        if len(llms) > 0
    ]


def _tables_of(trial: Trial) -> JointTables:
    """The table of a trial, which alone decides, and the training prompts of others."""
    tuning, split = trial.tuning, trial.split
    joint = JointTables(
        texts=list(trial.table.prompt_texts),
        train=[JointPart(trial.train, split.train_prompts)],
        validation=[JointPart(tuning.validation, split.validation_prompts)],
        num_calibration=tuning.num_calibration,
        seed=tuning.seed,
    )
    for other in trial.others:
        joint.train.append(add_part(joint.texts, other.train, other.train_texts))
    return joint
