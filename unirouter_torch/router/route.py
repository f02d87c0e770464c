"""The answer of a router for one prompt."""

from dataclasses import dataclass

import torch

from unirouter_torch.routing.decision import rank_totals, tie_tolerance


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where one prompt goes, and why.

    Attributes:
        llm: Name of the chosen LLM.
        estimated_error: Estimated error of every LLM of the pool, in [0, 1].
        cost: Expected cost of the prompt for every LLM, in the pool's unit; with that of its latency where that counts.
        total: Estimated error plus weighted cost of every LLM that may be chosen, from the cheapest of them to the most
            expensive: of equal totals the first wins.
    """

    llm: str
    estimated_error: dict[str, float]
    cost: dict[str, float]
    total: dict[str, float]

    @property
    def ranking(self) -> list[str]:
        """The LLMs that may be chosen, from the chosen one on; each is the choice without those before it."""
        names = [name for name in self.total if name != self.llm]
        places = rank_totals([self.total[name] for name in names], tie_tolerance(torch.float32))
        return [self.llm, *(names[place] for place in places)]
