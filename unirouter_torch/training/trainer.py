"""Lightning's trainer and loggers, as every training of this package has them."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from unirouter_torch.config.files import to_plain
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ConfigError


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
            log_every_n_steps=10,
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
