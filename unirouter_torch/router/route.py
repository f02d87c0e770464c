"""The answer of a router for one prompt."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where one prompt goes, and why.

    Attributes:
        llm: Name of the chosen LLM.
        estimated_error: Estimated error of every LLM of the pool, in [0, 1].
        cost: Expected cost of the prompt for every LLM, in the pool's unit; with that of its latency where that counts.
    """

    llm: str
    estimated_error: dict[str, float]
    cost: dict[str, float]

    def weighted(self, cost_weight: float, reference_cost: float) -> dict[str, float]:
        """Estimated error plus weighted cost of every LLM, the chosen one first, then from the least on.

        Args:
            cost_weight: Error accepted to save one reference cost [1].
            reference_cost: That of the pool, in its unit, positive.
        """
        total = {
            llm: error + cost_weight * self.cost[llm] / reference_cost for llm, error in self.estimated_error.items()
        }
        return {llm: total[llm] for llm in sorted(total, key=lambda llm: (llm != self.llm, total[llm], self.cost[llm]))}
