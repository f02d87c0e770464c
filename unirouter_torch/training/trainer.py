"""Lightning's trainer, loggers and checkpoints, as every training has them."""

import logging
import secrets
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, Dataset

from unirouter_torch.config.files import to_plain
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ConfigError
from unirouter_torch.storage import write_atomically
from unirouter_torch.training.callbacks import TrainingProgress
from unirouter_torch.training.checkpoint import CHECKPOINT_NAME, LOG_EVERY, CheckpointFile, KeepCheckpoint
from unirouter_torch.training.device_group import DeviceGroup
from unirouter_torch.training.episodes import Episode, EpisodesInOrder
from unirouter_torch.training.sharding import ShardedStrategy


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
    found = path if path is not None and DeviceGroup.current().any(path.exists()) else None
    beside = [] if path is None else [TrainingProgress(), KeepCheckpoint(path, order)]
    with quiet_lightning():
        trainer = build_trainer(
            config,
            logger=build_loggers(config, log_folder, goes_on=found is not None),
            callbacks=[*callbacks, *beside],
            plugins=[CheckpointFile(fingerprint)],
            **settings,
        )
        try:
            trainer.fit(module, loader, validation, ckpt_path=found)
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
            num_nodes=hardware.num_nodes,
            strategy=_strategy(config),
            # what a sharded encoder gathers while it validates is used again in training
            inference_mode=hardware.strategy != "fsdp",
            # an episode is shared out, not the episodes
            use_distributed_sampler=False,
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
            f"trainer.num_nodes={hardware.num_nodes}, trainer.strategy={hardware.strategy}. A CPU always works: "
            "accelerator cpu, devices 1, num_nodes 1, strategy auto."
        ) from None


def _strategy(config: TrainConfig) -> str | DDPStrategy:
    """DDP or sharding for several devices, with gloo beside NCCL for what lies in main memory."""
    if config.trainer.num_workers == 1:
        return "auto"
    has_gpus = config.trainer.accelerator != "cpu" and torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if has_gpus else "gloo"
    # nobody waits in vain: the process that started the workers ends all of them when one fails
    kind = ShardedStrategy if config.trainer.strategy == "fsdp" else DDPStrategy
    return kind(process_group_backend=backend, timeout=timedelta(days=7), broadcast_buffers=False)


def build_loggers(config: TrainConfig, log_folder: Path | None, *, goes_on: bool) -> list[Logger]:
    """Where learning curves go; nowhere without a folder.

    Args:
        config: The run.
        log_folder: The folder of its curves.
        goes_on: Whether the training goes on from a checkpoint, and so does its run at Weights & Biases.
    """
    if log_folder is None:
        return []
    loggers: list[Logger] = [CSVLogger(log_folder, name="", version="")]
    if config.logger == "wandb":
        identity = _wandb_identity(log_folder, goes_on=goes_on)
        wandb = WandbLogger(project="unirouter_torch", save_dir=log_folder, id=identity, resume="allow")
        wandb.log_hyperparams(to_plain(config))
        loggers.append(wandb)
    return loggers


def _wandb_identity(log_folder: Path, *, goes_on: bool) -> str:
    """The id of the run at Weights & Biases, in a file that lives as long as the checkpoint."""
    path = log_folder / f"{CHECKPOINT_NAME}.wandb"
    if goes_on and path.exists():
        return path.read_text()
    identity = secrets.token_hex(4)
    if DeviceGroup.current().is_first:
        write_atomically(path, identity.encode())
    return identity


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's advice on loaders and hardware, which does not apply to episodes held in memory."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
