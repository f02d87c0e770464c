"""Settings of a choice among LLMs, for every command that chooses. The classes are inherited, never made themselves."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LatencyOptions:
    """Whether the latency of an LLM counts."""

    latency_weight: float | None = None
    """What a second costs, in the unit of the pool: the latency of an LLM then counts as a cost. That of the target
    that ``unirouter tune --save`` keeps, else 0, when not given."""


@dataclass(frozen=True, kw_only=True)
class WeightOptions(LatencyOptions):
    """How cost counts against quality."""

    cost_weight: float | None = None
    """Error accepted to save the reference cost of the router, at least 0; 0 asks for quality alone. That of the target
    that ``unirouter tune --save`` keeps, else 0.1, when not given."""


@dataclass(frozen=True, kw_only=True)
class ChoiceOptions(WeightOptions):
    """How an LLM is chosen, and among which."""

    caution: float | None = None
    """Count each cluster error as the bound that it is below with this probability, in [0.5, 1): LLMs of which little
    is known are taken for worse ones. The estimate itself counts when not given."""
    llms: list[str] | None = None
    """Choose among these LLMs alone; among all that are not disabled when not given."""
