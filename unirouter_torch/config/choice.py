"""Settings of a choice among LLMs, the same for every call and every command that chooses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from unirouter_torch.config.router import Backend


class Choice(TypedDict, total=False):
    """What a call that chooses takes by name beside the cost weight; :class:`ChoiceOptions` says what each means."""

    latency_weight: float | None
    caution: float | None
    llms: Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class ChoiceOptions:
    """How an LLM is chosen, and among which. Commands inherit it."""

    latency_weight: float | None = None
    """What a second costs, in the unit of the pool: the latency of an LLM then counts as a cost. That of the target
    that ``unirouter tune --save`` keeps, else 0, when not given."""
    caution: float | None = None
    """Count each cluster error as the bound that it is below with this probability, in [0.5, 1): LLMs of which little
    is known are taken for worse ones. The estimate itself counts when not given."""
    llms: list[str] | None = None
    """Choose among these LLMs alone; among all that are not disabled when not given."""

    @property
    def choice(self) -> Choice:
        """The same as the library takes it."""
        return Choice(latency_weight=self.latency_weight, caution=self.caution, llms=self.llms)


@dataclass(frozen=True, kw_only=True)
class WeightedChoiceOptions(ChoiceOptions):
    """How an LLM is chosen, among which, and how cost counts against quality. Commands inherit it."""

    cost_weight: float | None = None
    """Error accepted to save the reference cost of the router, at least 0; 0 asks for quality alone. That of the target
    that ``unirouter tune --save`` keeps, else 0.1, when not given."""


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """What runs the encoder of a router. Commands that route prompts inherit it."""

    backend: Backend = "torch"
    """What runs an encoder that is a transformer: torch, or ONNX Runtime on the CPU (extra ``onnx``) in float32 or with
    8-bit weights. The last is the fastest and changes few choices; how many is said."""
