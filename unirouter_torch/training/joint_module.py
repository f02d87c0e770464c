"""The Lightning module that trains an encoder together with a cluster head."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.encoder.trainable import TrainableEncoder
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Embedding, PromptSubset
from unirouter_torch.training.device_group import ALONE, DeviceGroup
from unirouter_torch.training.episodes import Episode
from unirouter_torch.training.joint_tables import JointTables
from unirouter_torch.training.memory_bank import MemoryBank
from unirouter_torch.training.module import DECIDING_LOSS
from unirouter_torch.training.objective import EpisodeOutcomes, cross_entropy, estimate_targets
from unirouter_torch.training.optimizer import build_schedule
from unirouter_torch.training.sharding import clip_gradients


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


class ValidationDraw(NamedTuple):
    """Training prompts that represent the LLMs of a table in one look at the validation loss.

    Attributes:
        table: Number of the table.
        calibration: The prompts.
    """

    table: int
    calibration: PromptSubset


class JointModule(LightningModule):
    """Trains encoder and head on episodes of one table or several, with a memory bank of embeddings for each.

    Args:
        encoder: The encoder to train, in place.
        head: The head to train, in place; it was trained over the frozen encoder.
        tables: Outcomes; ``encoder`` embeds their prompts by row number.
        config: The run.
    """

    def __init__(self, encoder: TrainableEncoder, head: ClusterHead, tables: JointTables, config: TrainConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.config = config
        self.banks = nn.ModuleList(MemoryBank(part.outcomes.embedding) for part in tables.train)
        self.table_sizes = [(part.outcomes.error.shape[0], part.outcomes.error.shape[1]) for part in tables.train]
        self.num_deciding = len(tables.validation)
        self.losses: list[float] = []
        self.strict_loading = False  # weights that are not trained are in no checkpoint
        self._validation_embeddings = [part.outcomes.embedding for part in tables.validation]
        for kind, parts in (("train", tables.train), ("validation", tables.validation)):
            for number, (outcomes, rows) in enumerate(parts):
                for name, tensor in (("error", outcomes.error), ("observed", outcomes.observed), ("rows", rows)):
                    self.register_buffer(f"{kind}_{name}_{number}", tensor, persistent=False)

    def training_step(self, batch: Episode, batch_idx: int) -> Tensor:
        """Cross-entropy of one episode, of which this worker takes its share of the prompts."""
        table, workers = batch.table, DeviceGroup.current()
        parts = share_out(batch, self.config.encoder_training.num_prompts * workers.size)
        passed, target = self._pass(table, parts.passing, parts.target)
        remembered, targets = workers.part(parts.remembered), workers.part(parts.target)
        calibration = torch.cat([passed, self._bank(table).read(remembered)])
        prompts = torch.cat([workers.part(parts.passing), remembered])
        episode = EpisodeOutcomes(
            calibration=self._outcomes(table, calibration, prompts).of_llms(batch.llms),
            target=self._outcomes(table, target, targets).of_llms(batch.llms),
        )
        loss = self._loss(episode, workers)
        self.losses.append(loss.item())
        if self.trainer.loggers:
            self.log_dict({"train/loss": loss, "train/shrinkage": self.head.shrinkage})
        return loss

    def on_validation_epoch_start(self) -> None:
        """Embed the validation prompts with the encoder as it is, each worker its share."""
        rows = (self.get_buffer(f"validation_rows_{table}") for table in range(self.num_deciding))
        self._validation_embeddings = [self._embed(part) for part in rows]

    def validation_step(self, batch: ValidationDraw, batch_idx: int) -> None:
        """Log the loss on validation prompts, its mean over tables and draws of calibration prompts."""
        table, calibration = batch
        validation = (self.get_buffer(f"validation_{name}_{table}") for name in ("error", "observed"))
        embedding = self._embed(self.get_buffer(f"train_rows_{table}")[calibration])
        self._bank(table).refresh(calibration, embedding)
        episode = EpisodeOutcomes(
            calibration=self._outcomes(table, embedding, calibration),
            target=Outcomes(self._validation_embeddings[table], *validation),
        )
        # workers may round differently, and must decide alike
        self.log(DECIDING_LOSS, self._loss(episode), on_epoch=True, batch_size=1, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out weights that are not trained, and add the losses so far."""
        frozen = {name for name, value in self.named_parameters(remove_duplicate=False) if not value.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in frozen}
        checkpoint["losses"] = self.losses

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the losses up again."""
        self.losses[:] = checkpoint["losses"]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with one learning rate for the encoder and one for the head, both set anew at every step."""
        optimizer = joint_optimizer(self.encoder, self.head, self.config)
        schedule = build_schedule(optimizer, self.config.optimizer, self.config.encoder_training.max_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Cut the gradient of a step, over encoder and head, shared out or not."""
        assert gradient_clip_val is not None
        clip_gradients([p for group in optimizer.param_groups for p in group["params"]], gradient_clip_val)

    def embed_training_prompts(self) -> Embedding:
        """Embeddings of training prompts of all tables, evenly spread and about 1,000 of each at most."""
        rows = [self.get_buffer(f"train_rows_{table}") for table in range(len(self.banks))]
        return torch.cat([self._embed(part[:: -(-len(part) // 1000)]) for part in rows])

    def _bank(self, table: int) -> MemoryBank:
        bank = self.banks[table]
        assert isinstance(bank, MemoryBank)
        return bank

    def _pass(self, table: int, *parts: Int[Tensor, " _"]) -> Sequence[Embedding]:
        """Embeddings of this worker's share of each part; the bank gets those of all workers."""
        workers = DeviceGroup.current()
        shares = [workers.part(prompts) for prompts in parts]
        embedding: Embedding = self.encoder(self.get_buffer(f"train_rows_{table}")[torch.cat(shares)])
        embeddings = torch.split(embedding, [len(share) for share in shares])
        for prompts, own in zip(parts, embeddings, strict=True):
            self._bank(table).refresh(prompts, workers.join(own, len(prompts)))
        return embeddings

    @torch.no_grad()
    def _embed(self, rows: PromptSubset) -> Embedding:
        workers = DeviceGroup.current()
        return workers.join(self.encoder(workers.part(rows)), len(rows))

    def _outcomes(self, table: int, embedding: Embedding, prompts: PromptSubset) -> Outcomes:
        error, observed = (self.get_buffer(f"train_{name}_{table}") for name in ("error", "observed"))
        return Outcomes(embedding, error.index_select(0, prompts), observed.index_select(0, prompts))

    def _loss(self, episode: EpisodeOutcomes, workers: DeviceGroup = ALONE) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            estimated = estimate_targets(self.head, episode, workers)
            return cross_entropy(estimated, episode.target.error, episode.target.observed, workers)


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
