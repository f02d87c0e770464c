"""What one training step draws: a table, calibration prompts, target prompts, LLMs."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch.utils.data import Dataset, Sampler

from unirouter_torch.config.training import EpisodeConfig
from unirouter_torch.shapes import LLMSubset, PromptSubset


class Episode(NamedTuple):
    """Rows and columns of the training outcomes of a table.

    Attributes:
        calibration: Prompts that represent the LLMs.
        target: Prompts whose outcomes are predicted; disjoint from ``calibration``.
        llms: The LLMs.
        table: Number of the table.
    """

    calibration: PromptSubset
    target: PromptSubset
    llms: LLMSubset
    table: int = 0


class EpisodeDataset(Dataset[Episode]):
    """Episode ``i`` depends on the seed and ``i`` alone, so that any step can be drawn again.

    The number of calibration prompts is log-uniform, so that the head learns to serve LLMs of which little is known.

    Args:
        num_prompts: Training prompts, at least 2.
        num_llms: LLMs to train on, at least 1.
        num_episodes: Length of the data set.
        config: Sizes; cut down where there are too few prompts, at most half of which calibrate.
        seed: Seed of all draws.
    """

    def __init__(self, *, num_prompts: int, num_llms: int, num_episodes: int, config: EpisodeConfig, seed: int) -> None:
        self.num_prompts = num_prompts
        self.num_llms = num_llms
        self.num_episodes = num_episodes
        self.config = config
        self.seed = seed

    def __len__(self) -> int:
        return self.num_episodes

    def __getitem__(self, index: int) -> Episode:
        if not 0 <= index < self.num_episodes:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        num_calibration = self._draw_num_calibration(generator)
        prompts = torch.randperm(self.num_prompts, generator=generator)
        num_llms = max(1, round(self.config.llm_fraction * self.num_llms))
        return Episode(
            calibration=prompts[:num_calibration],
            target=prompts[num_calibration : num_calibration + self.config.num_targets],
            llms=torch.randperm(self.num_llms, generator=generator)[:num_llms],
        )

    def _draw_num_calibration(self, generator: torch.Generator) -> int:
        most = min(self.config.max_calibration, self.num_prompts // 2)
        least = min(self.config.min_calibration, most)
        position = torch.rand((), generator=generator).item()
        return round(least * math.exp(position * math.log(most / least)))


class EpisodesOfTables(Dataset[Episode]):
    """Episodes of several tables: each draws one of them, with a chance as the square root of its number of prompts.

    So a large table counts for more than a small one, but does not drown it. Episode ``i`` depends on the seeds and on
    ``i`` alone; of one table, the episodes are that table's.

    Args:
        tables: Episodes of each table, as many of each.
    """

    def __init__(self, tables: Sequence[EpisodeDataset]) -> None:
        self.tables = tables
        self._chance = torch.tensor([math.sqrt(table.num_prompts) for table in tables])

    def __len__(self) -> int:
        return len(self.tables[0])

    def __getitem__(self, index: int) -> Episode:
        generator = torch.Generator().manual_seed(self.tables[0].seed * 1_000_003 + index)
        table = int(torch.multinomial(self._chance, 1, generator=generator))
        return self.tables[table][index]._replace(table=table)


class EpisodesInOrder(Sampler[int]):
    """Numbers of the episodes from ``start`` on, which a checkpoint sets; its length counts those before as well.

    Args:
        num_episodes: Number of all episodes.
    """

    def __init__(self, num_episodes: int) -> None:
        self.num_episodes = num_episodes
        self.start = 0

    def __len__(self) -> int:
        return self.num_episodes

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.num_episodes))
