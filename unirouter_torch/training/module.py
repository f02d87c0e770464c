"""The Lightning module: steps, logging and optimizers around a cluster head."""

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.metrics.scores import DeferralFigures
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.device_group import DeviceGroup
from unirouter_torch.training.episodes import Episode
from unirouter_torch.training.objective import EpisodeOutcomes, cross_entropy, estimate_targets
from unirouter_torch.training.optimizer import build_optimizer, build_schedule
from unirouter_torch.training.validation import ValidationSet

DECIDING_LOSS = "validation/loss"
"""Key of the mean loss over the validation sets that decide which step is kept."""


class RouterModule(LightningModule):
    """Trains a cluster head on episodes over frozen embeddings.

    Args:
        head: The head to train, in place.
        tables: Training LLMs on training prompts, one for each table.
        validation: What each validation loader holds.
        config: The run.
        with_curves: Whether to log area and squared error beside the validation loss.
    """

    def __init__(
        self,
        head: ClusterHead,
        tables: Sequence[Outcomes],
        validation: Sequence[ValidationSet],
        config: TrainConfig,
        *,
        with_curves: bool,
    ) -> None:
        super().__init__()
        self.head = head
        self.config = config
        for number, outcomes in enumerate(tables):
            for name, tensor in outcomes._asdict().items():
                self.register_buffer(f"{name}_{number}", tensor, persistent=False)
        self.validation = validation
        self._losses: list[list[Tensor]] = [[] for _ in validation]
        self.metrics = torch.nn.ModuleList(
            DeferralFigures(part.cost, config.evaluation.curve) for part in validation if with_curves
        )
        for number in range(len(self.metrics)):
            self._metrics_of(number).sync_on_compute = False  # every worker has all validation prompts

    def training_step(self, batch: Episode, batch_idx: int) -> Tensor:
        """Cross-entropy of one episode, of which this worker takes its share of the prompts."""
        workers = DeviceGroup.current()
        outcomes = Outcomes(*(self.get_buffer(f"{name}_{batch.table}") for name in Outcomes._fields))
        episode = EpisodeOutcomes(
            calibration=outcomes.of_prompts(workers.part(batch.calibration)).of_llms(batch.llms),
            target=outcomes.of_prompts(workers.part(batch.target)).of_llms(batch.llms),
        )
        estimated, target = estimate_targets(self.head, episode, workers), episode.target
        loss = cross_entropy(estimated, target.error, target.observed, workers)
        if self.trainer.loggers:
            self.log_dict({"train/loss": loss, "train/shrinkage": self.head.shrinkage})
        return loss

    def validation_step(self, batch: EpisodeOutcomes, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Collect the loss and the estimates on held-out prompts."""
        estimated, target = estimate_targets(self.head, batch), batch.target
        self._losses[dataloader_idx].append(cross_entropy(estimated, target.error, target.observed))
        if len(self.metrics) > 0:
            self._metrics_of(dataloader_idx).update(estimated, target.error, target.observed)

    def on_validation_epoch_end(self) -> None:
        """Log the loss of each validation set, the mean of those that decide, and the figures of merit."""
        deciding = []
        for part, losses in zip(self.validation, self._losses, strict=True):
            loss = torch.stack(losses).mean()
            losses.clear()
            self.log(f"{DECIDING_LOSS}_{part.name}", loss)
            if part.decides:
                deciding.append(loss)
        # workers may round differently, and must decide alike
        self.log(DECIDING_LOSS, torch.stack(deciding).mean(), sync_dist=True)
        for number in range(len(self.metrics)):
            metrics = self._metrics_of(number)
            name = self.validation[number].name
            self.log_dict({f"validation/{key}_{name}": value for key, value in metrics.compute().items()})
            metrics.reset()

    def _metrics_of(self, number: int) -> DeferralFigures:
        metrics = self.metrics[number]
        assert isinstance(metrics, DeferralFigures)
        return metrics

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, its learning rate set anew at every step."""
        optimizer = build_optimizer(self.head, self.config.optimizer)
        schedule = build_schedule(optimizer, self.config.optimizer, self.config.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
