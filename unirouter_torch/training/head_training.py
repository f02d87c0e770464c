"""Training of a cluster head on the outcomes of one table or several, by Lightning."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from torch import Tensor
from torch.utils.data import DataLoader

from unirouter_torch.config.files import to_plain
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ConfigError
from unirouter_torch.methods.clustering import centroids_of
from unirouter_torch.modeling.head import ClusterHead
from unirouter_torch.routing.method import Outcomes
from unirouter_torch.shapes import Centroids
from unirouter_torch.training.callbacks import KeepBest, TrainingProgress
from unirouter_torch.training.episodes import EpisodeDataset, EpisodesOfTables
from unirouter_torch.training.module import DECIDING_LOSS, RouterModule
from unirouter_torch.training.objective import EpisodeOutcomes
from unirouter_torch.training.validation import ValidationSet

CENTROID_PROMPTS = 2000
"""Prompts of each of several tables that K-means clusters together, at most."""


def shared_centroids(embeddings: Sequence[Float[Tensor, "_ dim"]], num_clusters: int, seed: int) -> Centroids:
    """K-means centroids of several tables, each with the same number of prompts where it has as many."""
    generator = torch.Generator().manual_seed(seed)
    parts = [part[torch.randperm(len(part), generator=generator)[:CENTROID_PROMPTS]] for part in embeddings]
    return centroids_of(torch.cat(parts), seed)(num_clusters)


def warm_start(centroids: Centroids, config: TrainConfig) -> ClusterHead:
    """A head that assigns softly to the nearest centroid, as ``head`` in the config says."""
    settings = config.head
    return ClusterHead.from_centroids(centroids, sharpness=settings.sharpness, shrinkage=settings.initial_shrinkage)


def train_head(
    head: ClusterHead,
    tables: Sequence[Outcomes],
    validation: Sequence[ValidationSet],
    config: TrainConfig,
    *,
    seed: int,
    log_folder: Path | None,
) -> int:
    """Train a head in place on episodes of some tables, and end with the weights of the least validation loss.

    Args:
        head: Where to start from.
        tables: Training LLMs on training prompts, one for each table.
        validation: What the loss is watched on; at least one that decides.
        config: Episodes, optimizer, trainer, logger.
        seed: Seed of the episodes.
        log_folder: Where learning curves go; no logs, no curves of area and no progress bar without it.

    Returns:
        The step whose weights were kept.

    Raises:
        ConfigError: The hardware that ``trainer`` asks for is not there.
    """
    module = RouterModule(head, tables, validation, config, with_curves=log_folder is not None)
    keep_best = KeepBest(DECIDING_LOSS)
    loaders: list[DataLoader[EpisodeOutcomes]] = [
        DataLoader(part.episodes, batch_size=None)  # type: ignore[arg-type]
        for part in validation
    ]
    with _quiet_lightning():
        trainer = _build_trainer(config, log_folder, keep_best)
        trainer.fit(module, DataLoader(_episodes(tables, config, seed), batch_size=None), loaders)
    head.cpu().eval()
    return keep_best.step


def _episodes(tables: Sequence[Outcomes], config: TrainConfig, seed: int) -> EpisodesOfTables:
    return EpisodesOfTables(
        [
            EpisodeDataset(
                num_prompts=table.error.shape[0],
                num_llms=table.error.shape[1],
                num_episodes=config.trainer.max_steps,
                config=config.episodes,
                seed=seed,
            )
            for table in tables
        ]
    )


def _build_trainer(config: TrainConfig, log_folder: Path | None, keep_best: KeepBest) -> Trainer:
    settings = config.trainer
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
            logger=_loggers(config, log_folder),
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            callbacks=[keep_best, *([TrainingProgress()] if log_folder else [])],
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(
            f"trainer: {error} Got trainer.accelerator={settings.accelerator}, trainer.devices={settings.devices}, "
            f"trainer.strategy={settings.strategy}. A CPU always works: --trainer.accelerator cpu "
            "--trainer.devices 1 --trainer.strategy auto."
        ) from None


def _loggers(config: TrainConfig, log_folder: Path | None) -> list[Logger]:
    if log_folder is None:
        return []
    loggers: list[Logger] = [CSVLogger(log_folder, name="", version="")]
    if config.logger == "wandb":
        wandb = WandbLogger(project="unirouter_torch", save_dir=log_folder)
        wandb.log_hyperparams(to_plain(config))
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
