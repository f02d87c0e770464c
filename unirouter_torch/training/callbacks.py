"""What happens beside the training steps."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from unirouter_torch.progress import ProgressBar


class KeepBest(Callback):
    """Ends the training with the weights of the least validation loss, the earlier ones of equals.

    Args:
        monitor: Key of the loss.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.step = 0
        self._least = math.inf
        self._weights: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the weights if they are the best so far."""
        loss = float(trainer.callback_metrics[self.monitor])
        if loss < self._least:
            self._least, self.step = loss, trainer.global_step
            self._weights = {name: value.clone() for name, value in pl_module.state_dict().items()}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put them back."""
        pl_module.load_state_dict(self._weights)


class TrainingProgress(Callback):
    """One bar over all training steps, with the latest loss and area on held-out prompts."""

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the bar on the first process."""
        if trainer.is_global_zero:
            self._bar = ProgressBar("Training steps", total=trainer.max_steps)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """One step more."""
        if self._bar is not None:
            logged = trainer.callback_metrics
            names = {"loss": "train/loss", "area": "validation/area_training_llms"}
            self._bar.advance(**{name: float(logged[key]) for name, key in names.items() if key in logged})

    def on_train_end(self, *_: Any) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Close the bar before a message is printed."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
