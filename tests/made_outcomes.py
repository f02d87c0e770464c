"""Outcomes of a few LLMs on two kinds of prompts, for the tests of methods."""

from functools import cache
from typing import Any

import torch

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.load import load_table
from unirouter_torch.data.splits import split_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.methods.trial import Trial, Tuning
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.clustering import centroids_of


def outcomes(seed: int, num_prompts: int = 60, num_llms: int = 5, density: float = 1.0) -> Outcomes:
    """Two kinds of prompts on opposite sides; odd LLMs fail on one kind, even ones on the other."""
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 2, (num_prompts,), generator=generator)
    embedding = torch.randn(num_prompts, 8, generator=generator) * 0.3
    embedding[:, 0] += 2.0 * kind - 1.0
    fails = (kind[:, None] + torch.arange(num_llms)) % 2 == 0
    error = torch.where(fails, 0.9, 0.1)
    error = (torch.rand(num_prompts, num_llms, generator=generator) < error).float()
    return Outcomes(embedding, error, torch.rand(num_prompts, num_llms, generator=generator) < density)


def tuning(num_calibration: int = 30, seed: int = 0) -> Tuning:
    def negative_squared_error(estimate: torch.Tensor, truth: Outcomes) -> float:
        return -float((estimate - truth.error).square().mean())

    return Tuning(
        validation=outcomes(1),
        cost=torch.ones(5),
        num_calibration=num_calibration,
        area=negative_squared_error,
        centroids=centroids_of(outcomes(0).embedding, seed),
        seed=seed,
    )


DEFAULTS = TrainConfig()


@cache
def some_table() -> RoutingTable:
    return load_table("simulated:60x6")


def trial_of(train: Outcomes, how: Tuning, config: TrainConfig = DEFAULTS, **parts: Any) -> Trial:
    """A trial of made outcomes, for methods that look at nothing else; its table has nothing to do with them."""
    table = some_table()
    calibration, test = outcomes(2), parts.get("test", outcomes(3))
    made = {
        "table": table,
        "embedding": torch.zeros(table.num_prompts, 8),
        "split": split_table(table, seed=0, unseen_fraction=0.4),
        "train": train,
        "tuning": how,
        "calibration": calibration,
        "calibration_prompts": torch.arange(len(calibration.error)),
        "test": test,
        "test_source": torch.zeros(len(test.error), dtype=torch.long),
        "test_cost": torch.ones(test.error.shape[1]),
        "clairvoyant": outcomes(4),
    }
    return Trial(config=config, **made | parts)
