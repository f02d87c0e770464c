"""The Lightning module: steps, logging and optimizers around a cluster head."""

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MetricCollection

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.evaluation.metrics import deferral_metrics
from unirouter_torch.modeling.head import ClusterHead
from unirouter_torch.routing.method import Outcomes
from unirouter_torch.shapes import CostVector
from unirouter_torch.training.episodes import Episode
from unirouter_torch.training.objective import EpisodeOutcomes, cross_entropy, estimate_targets
from unirouter_torch.training.optimizer import build_optimizer, build_schedule


class RouterModule(LightningModule):
    """Trains a cluster head on episodes over frozen embeddings.

    Args:
        head: The head to train, in place.
        outcomes: Training LLMs on training prompts.
        validation_costs: Costs of the LLMs of each validation loader, by its name in the logs.
        config: The run.
        with_curves: Whether to log area and squared error beside the validation loss.
    """

    embedding: Tensor
    error: Tensor
    observed: Tensor

    def __init__(
        self,
        head: ClusterHead,
        outcomes: Outcomes,
        validation_costs: dict[str, CostVector],
        config: TrainConfig,
        *,
        with_curves: bool,
    ) -> None:
        super().__init__()
        self.head = head
        self.config = config
        for name, tensor in outcomes._asdict().items():
            self.register_buffer(name, tensor, persistent=False)
        self.validation_names = list(validation_costs)
        self.metrics = torch.nn.ModuleList(
            deferral_metrics(cost, config.evaluation.curve).clone(prefix="validation/", postfix=f"_{name}")
            for name, cost in validation_costs.items()
            if with_curves
        )

    def training_step(self, batch: Episode, batch_idx: int) -> Tensor:
        """Cross-entropy of one episode."""
        outcomes = Outcomes(self.embedding, self.error, self.observed)
        episode = EpisodeOutcomes(
            calibration=outcomes.of_prompts(batch.calibration).of_llms(batch.llms),
            target=outcomes.of_prompts(batch.target).of_llms(batch.llms),
        )
        loss = cross_entropy(estimate_targets(self.head, episode), episode.target.error, episode.target.observed)
        if self.trainer.loggers:
            self.log_dict({"train/loss": loss, "train/shrinkage": self.head.shrinkage})
        return loss

    def validation_step(self, batch: EpisodeOutcomes, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Log the loss on held-out prompts, its mean over the draws of calibration prompts; collect the estimates."""
        estimated, target = estimate_targets(self.head, batch), batch.target
        loss = cross_entropy(estimated, target.error, target.observed)
        name = f"validation/loss_{self.validation_names[dataloader_idx]}"
        self.log(name, loss, on_epoch=True, add_dataloader_idx=False, batch_size=1)
        if len(self.metrics) > 0:
            self._metrics_of(dataloader_idx).update(estimated, target.error, target.observed)

    def on_validation_epoch_end(self) -> None:
        """Log the area and the squared error of each group of LLMs."""
        for number in range(len(self.metrics)):
            metrics = self._metrics_of(number)
            self.log_dict(metrics.compute())
            metrics.reset()

    def _metrics_of(self, number: int) -> MetricCollection:
        metrics = self.metrics[number]
        assert isinstance(metrics, MetricCollection)
        return metrics

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, its learning rate set anew at every step."""
        optimizer = build_optimizer(self.head, self.config.optimizer)
        schedule = build_schedule(optimizer, self.config.optimizer, self.config.trainer.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
