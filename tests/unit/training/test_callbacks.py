"""The weights that a training ends with."""

import warnings

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from unirouter_torch.training.callbacks import KeepBest


class Scripted(LightningModule):
    """Its weight is the number of steps; its validation loss after each step is given."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.losses = losses
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.optimizers().step()
        self.weight.data += 1

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("loss", torch.tensor(self.losses[int(self.weight) - 1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.weight], lr=0.0)


@pytest.mark.parametrize(("losses", "best"), [([3.0, 1.0, 2.0], 2), ([1.0, 1.0], 1), ([2.0, 1.5, 1.0], 3)])
def test_training_ends_with_the_first_weights_of_the_least_loss(losses: list[float], best: int) -> None:
    module, keep_best = Scripted(losses), KeepBest("loss")
    steps = DataLoader(torch.zeros(len(losses), 1), batch_size=None)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            val_check_interval=1,
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            callbacks=[keep_best],
        )
        trainer.fit(module, steps, DataLoader(torch.zeros(1, 1), batch_size=None))
    assert module.weight.item() == keep_best.step == best
