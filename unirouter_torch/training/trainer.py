"""Lightning's trainer, loggers and checkpoints, as every training has them."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from torch.utils.data import DataLoader, Dataset

from unirouter_torch.config.files import to_plain
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ConfigError
from unirouter_torch.training.callbacks import TrainingProgress
from unirouter_torch.training.checkpoint import CHECKPOINT_NAME, LOG_EVERY, CheckpointFile, KeepCheckpoint
from unirouter_torch.training.episodes import Episode, EpisodesInOrder


def fit(
    module: LightningModule,
    episodes: Dataset[Episode],
    validation: Any,
    config: TrainConfig,
    *,
    log_folder: Path | None,
    fingerprint: str,
    callbacks: Sequence[Callback],
    **settings: Any,
) -> Trainer:
    """Train a module in place, from the checkpoint of the same training where an interruption has left one.

    Args:
        module: What is trained.
        episodes: All episodes, in their order.
        validation: Loaders.
        config: The run.
        log_folder: Where learning curves and the checkpoint go; neither of them, and no bar, without it.
        fingerprint: Tells the training from every other one.
        callbacks: What happens beside the steps, apart from the bar and the checkpoint.
        settings: Anything else that Lightning's trainer takes.

    Raises:
        ArtifactError: The checkpoint is damaged.
        ConfigError: It is that of another training, or the hardware that ``trainer`` asks for is not there.
        TerminatedError: The process was asked to end, and has saved a checkpoint.
    """
    order = EpisodesInOrder(len(episodes))  # type: ignore[arg-type]
    loader = DataLoader(episodes, batch_size=None, sampler=order)
    path = None if log_folder is None else log_folder / CHECKPOINT_NAME
    beside = [] if path is None else [TrainingProgress(), KeepCheckpoint(path, order)]
    with quiet_lightning():
        trainer = build_trainer(
            config,
            logger=build_loggers(config, log_folder),
            callbacks=[*callbacks, *beside],
            plugins=[CheckpointFile(fingerprint)],
            **settings,
        )
        try:
            trainer.fit(module, loader, validation, ckpt_path=path if path is not None and path.exists() else None)
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
    return trainer


def build_trainer(config: TrainConfig, **settings: Any) -> Trainer:
    """A trainer on the hardware of the config that draws no bar, writes no checkpoint and prints no summary.

    Args:
        config: The run.
        settings: Anything else that Lightning's trainer takes.

    Raises:
        ConfigError: The hardware that ``trainer`` asks for is not there.
    """
    hardware = config.trainer
    try:
        return Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            strategy=hardware.strategy,
            check_val_every_n_epoch=None,
            log_every_n_steps=LOG_EVERY,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            **settings,
        )
    except (MisconfigurationException, ValueError) as error:
        raise ConfigError(
            f"trainer: {error} Got trainer.accelerator={hardware.accelerator}, trainer.devices={hardware.devices}, "
            f"trainer.strategy={hardware.strategy}. A CPU always works: --trainer.accelerator cpu "
            "--trainer.devices 1 --trainer.strategy auto."
        ) from None


def build_loggers(config: TrainConfig, log_folder: Path | None) -> list[Logger]:
    """Where learning curves go; nowhere without a folder."""
    if log_folder is None:
        return []
    loggers: list[Logger] = [CSVLogger(log_folder, name="", version="")]
    if config.logger == "wandb":
        wandb = WandbLogger(project="unirouter_torch", save_dir=log_folder)
        wandb.log_hyperparams(to_plain(config))
        loggers.append(wandb)
    return loggers


@contextmanager
def quiet_lightning() -> Iterator[None]:
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
