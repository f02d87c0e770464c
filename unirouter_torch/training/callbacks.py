"""What happens beside the training steps."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from unirouter_torch.progress import ProgressBar
from unirouter_torch.training.sharding import part_like


class KeepBest(Callback):
    """Ends the training with the weights of the least validation loss, the earlier ones of equals.

    Only weights that are trained are remembered. Where the trainer validates before the first step
    (``num_sanity_val_steps=-1``), the weights at the start compete as well.

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
            trained = (item for item in pl_module.named_parameters() if item[1].requires_grad)
            self._weights = {name: value.detach().clone() for name, value in trained}

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"step": self.step, "least": self._least, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it from a checkpoint."""
        self.step, self._least, self._weights = (state_dict[name] for name in ("step", "least", "weights"))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put them back; this is called even where a checkpoint left no step to do."""
        with torch.no_grad():
            for name, value in self._weights.items():
                parameter = pl_module.get_parameter(name)
                parameter.copy_(part_like(value, parameter))


class TrainingProgress(Callback):
    """One bar over all training steps, with the latest loss and area on held-out prompts."""

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None
        self._step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the bar on the first process."""
        if trainer.is_global_zero:
            self._step = trainer.global_step
            self._bar = ProgressBar("Training steps", total=trainer.max_steps, done=self._step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """One step more."""
        if self._bar is not None and trainer.global_step > self._step:
            self._step = trainer.global_step
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
