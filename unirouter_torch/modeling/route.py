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
