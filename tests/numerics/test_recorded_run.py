"""Losses of twenty steps at a fixed seed: a refactoring reproduces them, or the changelog says why not."""

import pytest
import torch

from unirouter_torch.config.training import EpisodeConfig, OptimizerConfig
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.episodes import EpisodeDataset
from unirouter_torch.training.objective import EpisodeOutcomes, cross_entropy, estimate_targets
from unirouter_torch.training.optimizer import build_optimizer, build_schedule

RECORDED = [
    0.6602982682,
    0.6518573632,
    0.6416743235,
    0.6458079210,
    0.6250019217,
    0.6223100849,
    0.6381824477,
    0.6348515107,
    0.6190699651,
    0.6367898980,
    0.6300086727,
    0.6301014439,
    0.6237029020,
    0.6189170412,
    0.6098411975,
    0.6256067356,
    0.6300787958,
    0.6182879970,
    0.6143277948,
    0.6314905064,
]


def losses() -> list[float]:
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    difficulty = embedding[:, 0].sigmoid()
    error = (torch.rand(200, 5, generator=generator, dtype=torch.float64) < difficulty[:, None]).double()
    observed = torch.rand(200, 5, generator=generator) < 0.9
    head = ClusterHead.from_centroids(embedding[:4].clone(), sharpness=1.0, shrinkage=5.0).double()
    optimizer = build_optimizer(head, OptimizerConfig(learning_rate=0.05))
    schedule = build_schedule(optimizer, OptimizerConfig(learning_rate=0.05), 20)
    episodes = EpisodeDataset(num_prompts=200, num_llms=5, num_episodes=20, config=EpisodeConfig(), seed=0)
    found = []
    for number in range(20):
        episode = episodes[number]
        outcomes = Outcomes(embedding, error, observed).of_llms(episode.llms)
        drawn = EpisodeOutcomes(outcomes.of_prompts(episode.calibration), outcomes.of_prompts(episode.target))
        loss = cross_entropy(estimate_targets(head, drawn), drawn.target.error, drawn.target.observed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        found.append(loss.item())
    return found


def test_losses_are_those_recorded() -> None:
    assert losses() == pytest.approx(RECORDED, rel=1e-6)


def test_learning_rate_rises_and_falls_to_zero() -> None:
    head = ClusterHead(2, 2)
    config = OptimizerConfig(learning_rate=1.0, warmup_fraction=0.25)
    optimizer = build_optimizer(head, config)
    schedule = build_schedule(optimizer, config, 20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


def test_only_matrices_decay() -> None:
    optimizer = build_optimizer(ClusterHead(2, 3), OptimizerConfig(weight_decay=0.3))
    shapes = {group["weight_decay"]: [tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups}
    assert shapes == {0.3: [(3, 2)], 0.0: [(3,), (), (3,)]}
