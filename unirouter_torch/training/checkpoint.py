"""What an interrupted training goes on from, exactly as if it had never stopped."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from unirouter_torch import __version__
from unirouter_torch.config.fingerprint import digest_of
from unirouter_torch.errors import ArtifactError, ConfigError, TerminatedError
from unirouter_torch.storage import atomic_file, cannot_be_written, digest_of_tensors
from unirouter_torch.training.device_group import DeviceGroup
from unirouter_torch.training.episodes import EpisodesInOrder

CHECKPOINT_NAME = "training.ckpt"
OWN_STATE = "unirouter_torch"
"""Key of what Lightning does not know."""
LOG_EVERY = 10
"""Steps between two rows of the learning curves of the training loss."""


def fingerprint_of_training(facts: Sequence[Any], tensors: Sequence[Tensor]) -> str:
    """Digest of all that decides the course of a training: the version, settings as JSON values, and data."""
    data = digest_of_tensors({str(number): tensor for number, tensor in enumerate(tensors)})
    return digest_of([__version__, facts, data])


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints below a folder, and those that killed processes have left half-written."""
    for path in folder.rglob(f"*{CHECKPOINT_NAME}*"):
        path.unlink()


class CheckpointFile(CheckpointIO):
    """One file that is replaced as a whole, and that only the training that wrote it reads.

    Args:
        fingerprint: Tells the training from every other one.
    """

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the file; the old one stays where that fails.

        Raises:
            ArtifactError: It cannot be written, as on a full disk.
        """
        del storage_options
        with atomic_file(Path(path)) as file:
            try:
                torch.save(checkpoint | {"fingerprint": self.fingerprint}, file)
            except RuntimeError as error:
                raise cannot_be_written(Path(path), error) from None

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the file; nothing in it is run.

        Raises:
            ArtifactError: It is damaged or cannot be read.
            ConfigError: It is one of another table, config or version.
        """
        del map_location, weights_only
        next_step = "Delete it to train from the start."
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            fingerprint = checkpoint["fingerprint"]
        except Exception:  # A damaged file makes torch raise almost anything.
            raise ArtifactError(f"{path}: expected a checkpoint, but it cannot be read. {next_step}") from None
        if fingerprint != self.fingerprint:
            raise ConfigError(
                f"{path}: the checkpoint of a training with another table, config or version. Run the command that "
                f"wrote it, choose another output_dir, or go on without it: {next_step}"
            )
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove the file."""
        Path(path).unlink()


class KeepCheckpoint(Callback):
    """Saves the training after every validation, and when the process is asked to end (SIGTERM).

    It must stand last among the callbacks, so that it saves what the others have made of a validation.

    Args:
        path: The file.
        episodes: The order of the episodes, which goes on where the checkpoint was written.
    """

    def __init__(self, path: Path, episodes: EpisodesInOrder) -> None:
        self.path = path
        self.episodes = episodes
        self._asked_to_end = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove what a killed process has left half-written."""
        if trainer.is_global_zero:
            for leftover in self.path.parent.glob(f".{self.path.name}.*"):
                leftover.unlink()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for SIGTERM from the first validation on."""
        self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for SIGTERM; Lightning puts the earlier handler back."""
        self._listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End after a step if asked to, but not before its learning curves are written or its validation is done."""
        num_episodes = batch_idx + 1
        is_step = num_episodes % trainer.accumulate_grad_batches == 0
        assert isinstance(trainer.val_check_batch, int)
        is_unfinished = num_episodes % trainer.val_check_batch == 0 or trainer.global_step % LOG_EVERY == 0
        if is_step and not is_unfinished:
            self._end_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, and end if asked to."""
        if not trainer.sanity_checking:
            trainer.save_checkpoint(self.path)
            self._end_if_asked(trainer, is_saved=True)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not keep: that the training is to stop, and the learning curves."""
        paths = [Path(writer.metrics_file_path) for writer in _curve_writers(trainer)]
        curves = [path.read_bytes().decode() if path.exists() else "" for path in paths]
        checkpoint[OWN_STATE] = {"should_stop": trainer.should_stop, "curves": curves}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on with the episode, the curves and the decision to stop that the checkpoint was written with."""
        self.episodes.start = checkpoint["global_step"] * trainer.accumulate_grad_batches
        state = checkpoint[OWN_STATE]
        trainer.should_stop = state["should_stop"]
        for writer, curves in zip(_curve_writers(trainer), state["curves"], strict=trainer.is_global_zero):
            if curves:
                Path(writer.metrics_file_path).write_bytes(curves.encode())
                writer.metrics_keys = curves.splitlines()[0].split(",")

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_asked_to_end", True))

    def _end_if_asked(self, trainer: Trainer, *, is_saved: bool = False) -> None:
        if not DeviceGroup.current().any(self._asked_to_end):
            return
        if not is_saved:
            trainer.save_checkpoint(self.path)
        raise TerminatedError(
            f"asked to end (SIGTERM): saved after step {trainer.global_step} of {trainer.max_steps} in "
            f"{os.path.relpath(self.path)}; the same command goes on from there"
        )


def _curve_writers(trainer: Trainer) -> Iterator[Any]:
    if trainer.is_global_zero:
        yield from (logger.experiment for logger in trainer.loggers if isinstance(logger, CSVLogger))
