"""The Lightning module that trains an encoder together with a cluster head."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.modeling.adaptation import TrainableEncoder
from unirouter_torch.modeling.head import ClusterHead
from unirouter_torch.routing.method import Outcomes
from unirouter_torch.shapes import Embedding, PromptSubset
from unirouter_torch.training.episodes import Episode
from unirouter_torch.training.memory_bank import MemoryBank
from unirouter_torch.training.module import DECIDING_LOSS
from unirouter_torch.training.objective import EpisodeOutcomes, cross_entropy, estimate_targets
from unirouter_torch.training.optimizer import build_schedule


class EpisodeParts(NamedTuple):
    """The prompts of an episode by the way to their embeddings.

    Attributes:
        passing: Calibration prompts that pass through the encoder.
        remembered: Calibration prompts whose embeddings are read from the memory bank.
        target: Prompts whose outcomes are predicted; they pass through the encoder.
    """

    passing: PromptSubset
    remembered: PromptSubset
    target: PromptSubset


def share_out(episode: Episode, num_prompts: int) -> EpisodeParts:
    """Let at most ``num_prompts`` prompts of an episode pass through the encoder.

    Calibration prompts take a half of them or fewer, targets the rest; where targets are few, calibration prompts take
    what is left. Targets beyond that are left out.
    """
    num_passing = min(len(episode.calibration), max(num_prompts // 2, num_prompts - len(episode.target)))
    passing, remembered = episode.calibration[:num_passing], episode.calibration[num_passing:]
    return EpisodeParts(passing, remembered, episode.target[: num_prompts - num_passing])


class JointModule(LightningModule):
    """Trains encoder and head on episodes, with a memory bank of embeddings.

    Args:
        encoder: The encoder to train, in place.
        head: The head to train, in place; it was trained over the frozen encoder.
        train: Training LLMs on training prompts, with the embeddings of the frozen encoder.
        train_prompts: Rows of the training prompts in the table.
        validation: Training LLMs on validation prompts.
        validation_prompts: Rows of the validation prompts in the table.
        config: The run.
    """

    error: Tensor
    observed: Tensor
    train_prompts: Tensor
    validation_error: Tensor
    validation_observed: Tensor
    validation_prompts: Tensor

    def __init__(
        self,
        encoder: TrainableEncoder,
        head: ClusterHead,
        *,
        train: Outcomes,
        train_prompts: Int[Tensor, " train"],
        validation: Outcomes,
        validation_prompts: Int[Tensor, " validation"],
        config: TrainConfig,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.config = config
        self.bank = MemoryBank(train.embedding)
        self.losses: list[float] = []
        self._validation_embedding = validation.embedding
        for name, tensor in (
            ("error", train.error),
            ("observed", train.observed),
            ("train_prompts", train_prompts),
            ("validation_error", validation.error),
            ("validation_observed", validation.observed),
            ("validation_prompts", validation_prompts),
        ):
            self.register_buffer(name, tensor, persistent=False)

    def training_step(self, batch: Episode, batch_idx: int) -> Tensor:
        """Cross-entropy of one episode."""
        parts = share_out(batch, self.config.encoder_training.num_prompts)
        embedding = self._pass(torch.cat([parts.passing, parts.target]))
        passed, target = embedding[: len(parts.passing)], embedding[len(parts.passing) :]
        calibration = torch.cat([passed, self.bank.read(parts.remembered)])
        episode = EpisodeOutcomes(
            calibration=self._outcomes(calibration, torch.cat([parts.passing, parts.remembered])).of_llms(batch.llms),
            target=self._outcomes(target, parts.target).of_llms(batch.llms),
        )
        loss = self._loss(episode)
        self.losses.append(loss.item())
        if self.trainer.loggers:
            self.log_dict({"train/loss": loss, "train/shrinkage": self.head.shrinkage})
        return loss

    def on_validation_epoch_start(self) -> None:
        """Embed the validation prompts with the encoder as it is."""
        self._validation_embedding = self.encoder(self.validation_prompts)

    def validation_step(self, batch: PromptSubset, batch_idx: int) -> None:
        """Log the loss on validation prompts, its mean over the draws of calibration prompts."""
        episode = EpisodeOutcomes(
            calibration=self._outcomes(self._pass(batch), batch),
            target=Outcomes(self._validation_embedding, self.validation_error, self.validation_observed),
        )
        self.log(DECIDING_LOSS, self._loss(episode), on_epoch=True, batch_size=1)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with one learning rate for the encoder and one for the head, both set anew at every step."""
        optimizer = joint_optimizer(self.encoder, self.head, self.config)
        schedule = build_schedule(optimizer, self.config.optimizer, self.config.encoder_training.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _pass(self, prompts: PromptSubset) -> Embedding:
        embedding: Embedding = self.encoder(self.train_prompts[prompts])
        self.bank.refresh(prompts, embedding)
        return embedding

    def _outcomes(self, embedding: Embedding, prompts: PromptSubset) -> Outcomes:
        return Outcomes(embedding, self.error.index_select(0, prompts), self.observed.index_select(0, prompts))

    def _loss(self, episode: EpisodeOutcomes) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            estimated = estimate_targets(self.head, episode)
            return cross_entropy(estimated, episode.target.error, episode.target.observed)


def joint_optimizer(encoder: nn.Module, head: nn.Module, config: TrainConfig) -> Optimizer:
    """AdamW over what is trained of encoder and head, each with its own learning rate; only matrices decay."""
    rates = ((encoder, config.encoder_training.learning_rate), (head, config.optimizer.learning_rate))
    groups = [
        {
            "params": [p for p in module.parameters() if p.requires_grad and (p.ndim >= 2) is decays],
            "lr": learning_rate,
            "weight_decay": config.optimizer.weight_decay if decays else 0.0,
        }
        for module, learning_rate in rates
        for decays in (True, False)
    ]
    return AdamW([group for group in groups if group["params"]])
