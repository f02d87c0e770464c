"""What a head is validated on while it trains."""

from typing import NamedTuple

import torch

from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import CostVector
from unirouter_torch.training.objective import EpisodeOutcomes

NUM_VALIDATION_DRAWS = 3


class ValidationSet(NamedTuple):
    """Outcomes on which a head is validated while it trains.

    Attributes:
        name: In the logs.
        cost: Cost of the LLMs.
        episodes: The same target prompts, with several draws of calibration prompts.
        decides: Whether its loss decides which step is kept.
    """

    name: str
    cost: CostVector
    episodes: list[EpisodeOutcomes]
    decides: bool


def validation_set(
    name: str,
    train: Outcomes,
    validation: Outcomes,
    cost: CostVector,
    *,
    num_calibration: int,
    seed: int,
    decides: bool = True,
) -> ValidationSet:
    """Predict validation prompts from three draws of as many training prompts as will represent an unseen LLM."""
    generator = torch.Generator().manual_seed(seed)
    num_prompts = train.error.shape[0]
    draws = [torch.randperm(num_prompts, generator=generator) for _ in range(NUM_VALIDATION_DRAWS)]
    episodes = [EpisodeOutcomes(train.of_prompts(draw[:num_calibration]), validation) for draw in draws]
    return ValidationSet(name, cost, episodes, decides)
