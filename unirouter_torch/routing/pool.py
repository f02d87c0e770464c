"""The LLMs that a router chooses from."""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.pooled_llm import PooledLLM
from unirouter_torch.routing.target import Target, check_latency_weight
from unirouter_torch.routing.token_cost import PromptCost
from unirouter_torch.shapes import CostVector

_NUM_NAMED = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class LLMPool:
    """LLMs with their costs and what is known of their errors; every change gives a new pool.

    ``pool[name]`` is the row of an LLM.

    Attributes:
        llms: The LLMs, of distinct names.
        num_clusters: Of their sums.
        cost_unit: What costs are measured in, for people.
        cost_is_estimate: Whether the costs were estimated, not billed or listed.
        reference_cost: The cost that a cost weight refers to, in ``cost_unit``; it stays when LLMs come and go, so that
            a cost weight keeps its meaning.
        target: What routing shall give where no cost weight is asked for; it stays when LLMs come and go.

    Raises:
        PoolError: Two LLMs have one name, the sums of one are of another number of clusters, the reference cost is not
            positive, or there are LLMs and all are disabled.
    """

    llms: tuple[PooledLLM, ...]
    num_clusters: int
    cost_unit: str
    cost_is_estimate: bool
    reference_cost: float
    target: Target | None = None

    def __post_init__(self) -> None:
        twice = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if twice:
            raise PoolError(f"pool: the name {twice[0]!r} occurs more than once. Rename one of the LLMs.")
        for llm in self.llms:
            if (shape := llm.sums.error.shape) != (1, self.num_clusters):
                raise PoolError(f"sums of {llm.name!r}: got shape {tuple(shape)}, expected (1, {self.num_clusters}).")
        if not 0 < self.reference_cost < float("inf"):
            raise PoolError(f"pool: reference cost {self.reference_cost}; expected a positive number.")
        if self.llms and not any(llm.is_available for llm in self.llms):
            raise PoolError(
                "pool: every LLM would be disabled; a router needs one to choose. Enable another one first."
            )

    @classmethod
    def empty(
        cls,
        num_clusters: int,
        *,
        cost_unit: str = "US dollars per prompt",
        cost_is_estimate: bool = False,
        reference_cost: float = 1.0,
    ) -> "LLMPool":
        """A pool without LLMs, for LLMs to join."""
        return cls(
            llms=(),
            num_clusters=num_clusters,
            cost_unit=cost_unit,
            cost_is_estimate=cost_is_estimate,
            reference_cost=reference_cost,
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of each LLM."""
        return tuple(llm.name for llm in self.llms)

    @cached_property
    def cost(self) -> CostVector:
        """Cost of one call for each LLM, in ``cost_unit``, in float64."""
        return torch.tensor([llm.cost for llm in self.llms], dtype=torch.float64)

    @cached_property
    def sums(self) -> ClusterSums:
        """Sums of each LLM, one row for each."""
        none = torch.zeros(0, self.num_clusters)
        parts = zip(*(llm.sums for llm in self.llms), strict=True)
        return ClusterSums(*(torch.cat(part) for part in parts)) if self.llms else ClusterSums(none, none)

    @property
    def relative_cost(self) -> CostVector:
        """Cost of each LLM in units of the reference cost [1]."""
        return self.cost / self.reference_cost

    @property
    def latency_weight(self) -> float:
        """What a second costs where it is not said [cost unit / second]: that of the target, else 0."""
        return 0.0 if self.target is None else self.target.latency_weight

    @property
    def available(self) -> Bool[Tensor, " llm"]:
        """Whether each LLM may be chosen."""
        return torch.tensor([llm.is_available for llm in self.llms], dtype=torch.bool)

    def find(self, name: str) -> int:
        """Position of an LLM.

        Raises:
            PoolError: The pool has no LLM of that name.
        """
        try:
            return self.names.index(name)
        except ValueError:
            like = difflib.get_close_matches(name, self.names, n=_NUM_NAMED) or self.names[:_NUM_NAMED]
            more = len(self.names) - len(like)
            held = (", ".join(like) or "none") + (f" and {more} more" if more else "")
            raise PoolError(f"pool: no LLM named {name!r}; it holds {held}.") from None

    def __getitem__(self, name: str) -> PooledLLM:
        """The row of an LLM.

        Raises:
            PoolError: The pool has no LLM of that name.
        """
        return self.llms[self.find(name)]

    def check_latency(self, latency_weight: float) -> None:
        """Check that latency can count.

        Raises:
            PoolError: ``latency_weight`` is negative or not finite, or it is positive and the latency of an LLM that is
                not disabled is not known.
        """
        check_latency_weight(latency_weight)
        unknown = [llm.name for llm in self.llms if llm.is_available and llm.latency is None]
        if unknown and latency_weight > 0:
            raise PoolError(
                f"latency of {unknown[0]!r}: not known, but a latency weight of {latency_weight:g} counts it. Give it "
                "by `unirouter pool reprice --latency`, or `add --latency` where it is new, disable the LLM, or choose "
                "without a latency weight."
            )

    def prompt_cost(
        self,
        share: Float[Tensor, " cluster"],
        typical_tokens: float,
        shrinkage: float,
        latency_weight: float = 0.0,
    ) -> PromptCost:
        """What prompts cost with each LLM.

        Args:
            share: Mean cluster probabilities of the calibration prompts.
            typical_tokens: Their mean length [tokens].
            shrinkage: Pull of the expected length of an answer in a cluster to its mean [prompts], positive.
            latency_weight: What a second costs [cost unit / second]; the expected latency adds to the cost.

        Raises:
            PoolError: As :meth:`check_latency` says.
        """
        self.check_latency(latency_weight)
        typical, by_token = self.cost.clone(), torch.zeros_like(self.cost)
        by_cluster = self.cost.new_zeros(len(self.llms), len(share))
        for row, llm in enumerate(self.llms):
            if llm.latency is not None:
                typical[row] += latency_weight * llm.latency.seconds
            if llm.token_cost is None:
                continue
            slow = 0.0 if llm.latency is None else llm.latency.seconds_per_token
            price_out = llm.token_cost.price_out + latency_weight * slow
            answers = price_out * llm.token_cost.output_tokens(shrinkage).to(self.cost.dtype)
            mean = answers @ share.to(self.cost.dtype)
            typical[row] += mean + llm.token_cost.price_in * typical_tokens
            by_token[row], by_cluster[row] = llm.token_cost.price_in, answers - mean
        return PromptCost(typical, by_cluster, by_token, typical_tokens)

    def with_llm(self, llm: PooledLLM) -> "LLMPool":
        """This pool and one LLM more, as the last one.

        Raises:
            PoolError: The name is taken, or the sums are of another number of clusters.
        """
        self._check_new(llm.name)
        return replace(self, llms=(*self.llms, llm))

    def with_changes(self, name: str, /, **changes: Any) -> "LLMPool":
        """This pool with other fields of one LLM; the reference cost stays.

        Args:
            name: The LLM.
            changes: Fields of :class:`PooledLLM`, such as ``cost=0.002``, ``is_available=False`` or another ``name``.

        Raises:
            PoolError: The pool has no such LLM, the new name is taken, a value is out of range, or no LLM would be left
                that may be chosen.
        """
        row = self.find(name)
        if changes.get("name", name) != name:
            self._check_new(changes["name"])
        return replace(self, llms=(*self.llms[:row], replace(self.llms[row], **changes), *self.llms[row + 1 :]))

    def select(self, names: Sequence[str]) -> "LLMPool":
        """The pool of the named LLMs alone, in that order.

        Raises:
            PoolError: A name is unknown or occurs twice.
        """
        return replace(self, llms=tuple(self[name] for name in names))

    def without_llm(self, name: str) -> "LLMPool":
        """This pool less one LLM.

        Raises:
            PoolError: The pool has no LLM of that name, or no other.
        """
        self.find(name)
        if len(self.names) == 1:
            raise PoolError(f"pool: {name!r} is the last LLM; a router needs one. Add another one first.")
        return self.select([other for other in self.names if other != name])

    def _check_new(self, name: str) -> None:
        if name in self.names:
            raise PoolError(f"pool: {name!r} is in it already. Choose another name, or remove that LLM first.")
