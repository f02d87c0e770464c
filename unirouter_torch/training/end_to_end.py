"""The end-to-end router as a routing method: episodic training by Lightning."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Int
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from torch import Tensor
from torch.utils.data import DataLoader

from unirouter_torch.config.files import to_plain
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ConfigError, DataError
from unirouter_torch.modeling.head import ClusterHead
from unirouter_torch.routing.cluster_error import estimate_error, sum_by_cluster
from unirouter_torch.routing.method import Outcomes, RoutingMethod, Tuning
from unirouter_torch.shapes import ClusterError, Embedding, ErrorMatrix
from unirouter_torch.training.callbacks import KeepBest, TrainingProgress
from unirouter_torch.training.episodes import Episode, EpisodeDataset
from unirouter_torch.training.module import RouterModule
from unirouter_torch.training.objective import EpisodeOutcomes

FEWEST_LLMS_TO_HOLD_OUT_FROM = 10
FEWEST_PROMPTS = 4
NUM_VALIDATION_DRAWS = 3


class EndToEnd(RoutingMethod[ClusterError]):
    """Soft clusters on both sides: ``p(x) . Psi(h)``, with ``Psi`` formed through the same ``p``, trained together.

    The head starts from K-means and trains on episodes that look like onboarding (see
    :class:`~unirouter_torch.training.episodes.EpisodeDataset`). The weights of the least cross-entropy of the training
    LLMs on the validation prompts are kept, so that a table with little to learn from trains for a few steps only.

    Args:
        config: The run.
        log_folder: Where learning curves go; no logs and no learning curves without it.
    """

    name: ClassVar[str] = "end_to_end"

    def __init__(self, config: TrainConfig, log_folder: Path | None) -> None:
        self.config = config
        self.log_folder = log_folder
        self.head = ClusterHead(1, 1)
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
        validation = self._validation_episodes(train, tuning, held_out, kept)
        head = self._warm_start(tuning, num_prompts)
        costs = {"held_out_llms": tuning.cost[held_out], "training_llms": tuning.cost[kept]}
        training_outcomes = train.of_llms(kept)
        module = RouterModule(
            head,
            training_outcomes,
            {name: costs[name] for name in validation},
            self.config,
            with_curves=self.log_folder is not None,
        )
        keep_best = KeepBest("validation/loss_training_llms")
        with _quiet_lightning():
            trainer = self._build_trainer(keep_best)
            trainer.fit(module, self._episodes(training_outcomes, tuning.seed), list(validation.values()))
        self.head, self._step = head.cpu().eval(), keep_best.step

    @torch.inference_mode()
    def represent(self, calibration: Outcomes) -> ClusterError:
        """Soft, shrunk mean error of each LLM in each cluster."""
        probability = self.head(calibration.embedding)
        return self.head.cluster_error(sum_by_cluster(probability, calibration.error, calibration.observed))

    @torch.inference_mode()
    def estimate_error(self, embedding: Embedding, features: ClusterError) -> ErrorMatrix:
        """Inner product of cluster probabilities and cluster errors."""
        return estimate_error(self.head(embedding), features)

    def describe(self) -> dict[str, int | float]:
        """Number of clusters, learned shrinkage [prompts], and the training step whose weights were kept."""
        shrinkage = round(self.head.shrinkage.item(), 3)
        return {"num_clusters": self.head.num_clusters, "shrinkage": shrinkage, "step": self._step}

    def _hold_out(self, num_llms: int, seed: int) -> tuple[Int[Tensor, " held_out"], Int[Tensor, " kept"]]:
        fraction = self.config.episodes.held_out_fraction
        if self.log_folder is None or fraction == 0 or num_llms < FEWEST_LLMS_TO_HOLD_OUT_FROM:
            num_held_out = 0
        else:
            num_held_out = max(2, round(fraction * num_llms))
        order = torch.randperm(num_llms, generator=torch.Generator().manual_seed(seed))
        return order[:num_held_out].sort().values, order[num_held_out:].sort().values

    def _warm_start(self, tuning: Tuning, num_prompts: int) -> ClusterHead:
        settings = self.config.head
        centroids = tuning.centroids(max(1, min(settings.num_clusters, num_prompts // 4)))
        return ClusterHead.from_centroids(centroids, sharpness=settings.sharpness, shrinkage=settings.initial_shrinkage)

    def _episodes(self, train: Outcomes, seed: int) -> DataLoader[Episode]:
        episodes = EpisodeDataset(
            num_prompts=train.error.shape[0],
            num_llms=train.error.shape[1],
            num_episodes=self.config.trainer.max_steps,
            config=self.config.episodes,
            seed=seed,
        )
        return DataLoader(episodes, batch_size=None)

    def _validation_episodes(
        self, train: Outcomes, tuning: Tuning, held_out: Int[Tensor, " held_out"], kept: Int[Tensor, " kept"]
    ) -> dict[str, DataLoader[EpisodeOutcomes]]:
        generator = torch.Generator().manual_seed(tuning.seed)
        num_prompts = train.error.shape[0]
        draws = [torch.randperm(num_prompts, generator=generator) for _ in range(NUM_VALIDATION_DRAWS)]
        rows = [draw[: tuning.num_calibration] for draw in draws]
        groups = {"held_out_llms": held_out, "training_llms": kept}
        return {
            name: DataLoader(
                [  # type: ignore[arg-type]
                    EpisodeOutcomes(train.of_llms(llms).of_prompts(row), tuning.validation.of_llms(llms))
                    for row in rows
                ],
                batch_size=None,
            )
            for name, llms in groups.items()
            if len(llms) > 0
        }

    def _build_trainer(self, keep_best: KeepBest) -> Trainer:
        settings = self.config.trainer
        try:
            return Trainer(
                accelerator=settings.accelerator,
                devices=settings.devices,
                strategy=settings.strategy,
                max_steps=settings.max_steps,
                val_check_interval=min(settings.validate_every, settings.max_steps),
                check_val_every_n_epoch=None,
                num_sanity_val_steps=0,
                log_every_n_steps=10,
                logger=self._loggers(),
                enable_checkpointing=False,
                enable_model_summary=False,
                enable_progress_bar=False,
                callbacks=[keep_best, *([TrainingProgress()] if self.log_folder else [])],
            )
        except (MisconfigurationException, ValueError) as error:
            raise ConfigError(
                f"trainer: {error} Got trainer.accelerator={settings.accelerator}, trainer.devices={settings.devices}, "
                f"trainer.strategy={settings.strategy}. A CPU always works: --trainer.accelerator cpu "
                "--trainer.devices 1 --trainer.strategy auto."
            ) from None

    def _loggers(self) -> list[Logger]:
        if self.log_folder is None:
            return []
        loggers: list[Logger] = [CSVLogger(self.log_folder, name="", version="")]
        if self.config.logger == "wandb":
            wandb = WandbLogger(project="unirouter_torch", save_dir=self.log_folder)
            wandb.log_hyperparams(to_plain(self.config))
            loggers.append(wandb)
        return loggers


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's advice on loaders and hardware, which does not apply to episodes held in memory."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        logger.setLevel(level)
