"""Ways to train a static encoder with the routing loss; ``joint_training.py`` compares them."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.trainable import TrainableEncoder, make_trainable
from unirouter_torch.methods.end_to_end import FrozenEndToEnd
from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.cluster_error import estimate_error, sum_by_cluster
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.episodes import Episode, EpisodeDataset
from unirouter_torch.training.objective import EpisodeOutcomes, cross_entropy, estimate_targets
from unirouter_torch.training.optimizer import build_schedule

NUM_STEPS, LOOK_EVERY = 300, 50
OTHER_PROMPTS = 256
"""Prompts of each other table in a step, of the ways that have any."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """What is trained beside the head, and how.

    Attributes:
        weight_rate: Learning rate of the token weights, which stay where it is 0.
        table_rate: That of the token vectors.
        dropout: Share of the tokens of each prompt that a step leaves out.
        rarest: Tokens in fewer training prompts than this stay as they are.
        others: What other tables give: nothing, their own outcomes, or a MiniLM router's estimates on their prompts.
    """

    weight_rate: float = 0.0
    table_rate: float = 0.0
    dropout: float = 0.0
    rarest: int = 0
    others: str = ""


WAYS = {
    "head alone": Way(),
    "head alone, dropout .8": Way(dropout=0.8),
    "token weights": Way(weight_rate=1e-2),
    "token weights, common tokens": Way(weight_rate=1e-2, rarest=30),
    "token weights, dropout .5": Way(weight_rate=1e-2, dropout=0.5),
    "token weights, dropout .8": Way(weight_rate=1e-2, dropout=0.8),
    "weights and table": Way(weight_rate=1e-2, table_rate=1e-4),
    "weights and table, common tokens": Way(weight_rate=1e-2, table_rate=1e-4, rarest=30),
    "weights and table, dropout .8": Way(weight_rate=1e-2, table_rate=1e-4, dropout=0.8),
    "token weights, several tables": Way(weight_rate=1e-2, others="outcomes"),
    "token weights, a teacher on other prompts": Way(weight_rate=1e-2, others="teacher"),
}


class DropTokens(nn.Module):
    """Leaves out a share of the tokens of each prompt while gradients are taken."""

    def __init__(self, trained: nn.Module, share: float) -> None:
        super().__init__()
        self.trained, self.share = trained, share

    def forward(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """Embeddings of what is left; a prompt of which nothing is left is whole."""
        if self.share > 0 and torch.is_grad_enabled():
            kept = mask.bool() & (torch.rand(mask.shape) >= self.share)
            mask = torch.where(kept.any(1, keepdim=True), kept, mask.bool()).to(mask.dtype)
        embedding: Tensor = self.trained(input_ids, mask)
        return embedding


class OtherOutcomes(NamedTuple):
    """Outcomes on prompts of another table: their rows among all texts, and errors of LLMs."""

    rows: Tensor
    error: Tensor
    observed: Tensor
    of_own_llms: bool


def train(
    way: Way, trial: Trial, start: PromptEncoder, texts: Sequence[str], others: Sequence[OtherOutcomes]
) -> tuple[ClusterHead, Tensor]:
    """The head of a trial and the embeddings of its prompts, at the look of the least validation loss.

    Args:
        way: What is trained, and how.
        trial: Where the head over the frozen encoder was fitted, or is now.
        start: The frozen encoder.
        texts: The prompts of the table, and after them those of other tables.
        others: What other tables give.
    """
    torch.manual_seed(trial.tuning.seed)
    settings = EncoderTrainingConfig(mode="full" if way.table_rate > 0 else "last_layers")
    encoder = make_trainable(start, texts, settings, cache_dir=Path(), seed=0)
    encoder.trained = DropTokens(encoder.trained, way.dropout)
    head = copy.deepcopy(trial.fitted(FrozenEndToEnd).head).train().requires_grad_(True)
    optimizer = optimizer_of(way, encoder, head, trial.config.optimizer.learning_rate)
    freeze_rare(encoder, trial.split.train_prompts, way.rarest)
    schedule = build_schedule(optimizer, trial.config.optimizer, NUM_STEPS)
    episodes = EpisodeDataset(
        num_prompts=trial.train.error.shape[0],
        num_llms=trial.train.error.shape[1],
        num_episodes=NUM_STEPS,
        config=trial.config.episodes,
        seed=trial.tuning.seed + 1000,
    )
    least, best = math.inf, (head, trial.embedding)
    for step in range(NUM_STEPS + 1):
        if step % LOOK_EVERY == 0:
            loss, embedding = look(encoder, head, trial)
            if loss < least:
                least, best = loss, (copy.deepcopy(head).eval(), embedding)
        if step < NUM_STEPS:
            loss_of(episodes[step], encoder, head, trial, others).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return best


def loss_of(
    episode: Episode, encoder: TrainableEncoder, head: ClusterHead, trial: Trial, others: Sequence[OtherOutcomes]
) -> Tensor:
    """Cross-entropy of an episode, and of some prompts of each other table."""
    prompts, num_calibration = torch.cat([episode.calibration, episode.target]), len(episode.calibration)
    embedding = encoder(trial.split.train_prompts[prompts])
    passed = Outcomes(embedding, trial.train.error[prompts], trial.train.observed[prompts]).of_llms(episode.llms)
    calibration = passed.of_prompts(torch.arange(num_calibration))
    target = passed.of_prompts(torch.arange(num_calibration, len(prompts)))
    loss = cross_entropy(estimate_targets(head, EpisodeOutcomes(calibration, target)), target.error, target.observed)
    parts = [other_loss(head, encoder, other, calibration, episode) for other in others]
    return loss + sum(parts, torch.zeros(())) / max(1, len(parts))


@torch.no_grad()
def look(encoder: TrainableEncoder, head: ClusterHead, trial: Trial) -> tuple[float, Tensor]:
    """Validation loss over three draws of calibration prompts, and the embeddings of the table."""
    embedding = encoder(torch.arange(trial.table.num_prompts))
    train, validation = trial.split.train_prompts, trial.split.validation_prompts
    target = trial.tuning.validation._replace(embedding=embedding[validation])
    generator, losses = torch.Generator().manual_seed(trial.tuning.seed), []
    for _ in range(3):
        drawn = torch.randperm(len(train), generator=generator)[: trial.tuning.num_calibration]
        calibration = trial.train._replace(embedding=embedding[train]).of_prompts(drawn)
        estimated = estimate_targets(head, EpisodeOutcomes(calibration, target))
        losses.append(cross_entropy(estimated, target.error, target.observed).item())
    return sum(losses) / len(losses), embedding


def other_loss(
    head: ClusterHead, encoder: TrainableEncoder, other: OtherOutcomes, own: Outcomes, episode: Episode
) -> Tensor:
    """Cross-entropy on some prompts of another table: of its own LLMs, or of this table's by a teacher's estimates."""
    drawn = torch.randperm(len(other.rows))[:OTHER_PROMPTS]
    outcomes = Outcomes(encoder(other.rows[drawn]), other.error[drawn], other.observed[drawn])
    if other.of_own_llms:
        target = outcomes.of_llms(episode.llms)
    else:
        half = len(drawn) // 2
        own, target = outcomes.of_prompts(torch.arange(half)), outcomes.of_prompts(torch.arange(half, len(drawn)))
    sums = sum_by_cluster(head(own.embedding), own.error, own.observed)
    estimated = estimate_error(head(target.embedding), head.cluster_error(sums))
    return cross_entropy(estimated, target.error, target.observed)


def optimizer_of(way: Way, encoder: TrainableEncoder, head: ClusterHead, head_rate: float) -> AdamW:
    """AdamW with a rate for each part; what stays has none."""
    rates = {"log_weight": way.weight_rate, "table_change": way.table_rate}
    groups = [{"params": list(head.parameters()), "lr": head_rate}]
    for name, parameter in encoder.trained.named_parameters():
        rate = rates.get(name.rsplit(".", 1)[-1], 0.0)
        parameter.requires_grad_(rate > 0)
        if rate > 0:
            groups.append({"params": [parameter], "lr": rate})
    return AdamW(groups, weight_decay=0.0)


def freeze_rare(encoder: TrainableEncoder, rows: Tensor, fewest: int) -> None:
    """Keep tokens that occur in few of some prompts as they are."""
    trained = [parameter for parameter in encoder.trained.parameters() if parameter.requires_grad]
    if not trained or fewest == 0:
        return
    occurring = torch.cat([encoder.inputs[row].unique() for row in rows.tolist()]).long()
    rare = occurring.bincount(minlength=len(trained[0])) < fewest
    for parameter in trained:
        hook = partial(torch.Tensor.masked_fill, mask=rare.view(-1, *[1] * (parameter.ndim - 1)), value=0.0)
        parameter.register_hook(hook)  # type: ignore[no-untyped-call]
