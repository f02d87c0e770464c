"""Training of a cluster head on the outcomes of one table or several, by Lightning."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader

from unirouter_torch.config.fingerprint import deciding_settings
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Centroids
from unirouter_torch.training.callbacks import KeepBest
from unirouter_torch.training.checkpoint import fingerprint_of_training
from unirouter_torch.training.clustering import centroids_of
from unirouter_torch.training.episodes import EpisodeDataset, EpisodesOfTables
from unirouter_torch.training.module import DECIDING_LOSS, RouterModule
from unirouter_torch.training.objective import EpisodeOutcomes
from unirouter_torch.training.starting_router import digest_of_start
from unirouter_torch.training.trainer import fit
from unirouter_torch.training.validation import ValidationSet

CENTROID_PROMPTS = 2000
"""Prompts of each of several tables that K-means clusters together, at most."""


def shared_centroids(
    embeddings: Sequence[Float[Tensor, "_ dim"]], num_clusters: int, seed: int, form_dim: int
) -> Centroids:
    """K-means centroids of several tables, each with the same number of prompts where it has as many.

    The last ``form_dim`` columns of the embeddings play no part.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = [part[torch.randperm(len(part), generator=generator)[:CENTROID_PROMPTS]] for part in embeddings]
    together = torch.cat(parts)
    return centroids_of(together[:, : together.shape[1] - form_dim], seed)(num_clusters)


def warm_start(centroids: Centroids, config: TrainConfig, form_dim: int) -> ClusterHead:
    """A head that assigns softly to the nearest centroid, as ``head`` in the config says."""
    sharpness, shrinkage = config.head.sharpness, config.head.initial_shrinkage
    return ClusterHead.from_centroids(centroids, sharpness=sharpness, shrinkage=shrinkage, form_dim=form_dim)


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
        log_folder: Where learning curves and the checkpoint go; neither of them, no curves of area and no progress bar
            without it.

    Returns:
        The step whose weights were kept.

    Raises:
        ConfigError: The hardware that ``trainer`` asks for is not there, or the checkpoint is that of another training.
        ArtifactError: The checkpoint is damaged.
        TerminatedError: The process was asked to end, and has saved a checkpoint.
    """
    module = RouterModule(head, tables, validation, config, with_curves=log_folder is not None)
    keep_best = KeepBest(DECIDING_LOSS)
    loaders: list[DataLoader[EpisodeOutcomes]] = [
        DataLoader(part.episodes, batch_size=None)  # type: ignore[arg-type]
        for part in validation
    ]
    settings = config.trainer
    fit(
        module,
        _episodes(tables, config, seed),
        loaders,
        config,
        log_folder=log_folder,
        fingerprint=_fingerprint(tables, validation, config, seed),
        callbacks=[keep_best],
        max_steps=settings.max_steps,
        val_check_interval=min(settings.validate_every, settings.max_steps),
        # the weights of a trained router compete with those of every step
        num_sanity_val_steps=0 if config.head.start_from is None else -1,
    )
    head.cpu().eval()
    if config.head.far_clusters:
        head.split_far(torch.cat([table.embedding for table in tables]))
    return keep_best.step


def _fingerprint(
    tables: Sequence[Outcomes], validation: Sequence[ValidationSet], config: TrainConfig, seed: int
) -> str:
    parts = [*tables, *(part.episodes[0].target for part in validation)]
    settings = deciding_settings(config, ("encoder", "head", "episodes", "optimizer", "trainer"), hardware=False)
    facts = [seed, settings, digest_of_start(config)]
    return fingerprint_of_training(facts, [tensor for part in parts for tensor in part])


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
