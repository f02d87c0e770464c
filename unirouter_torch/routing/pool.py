"""The LLMs that a router chooses from."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.target import Target, check_latency_weight
from unirouter_torch.routing.token_cost import PromptCost, TokenCost
from unirouter_torch.shapes import CostVector

_NUM_NAMED = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class LLMPool:
    """LLMs with their costs and what is known of their errors; every change gives a new pool.

    Attributes:
        names: One distinct name for each LLM.
        cost: Cost of one call for each LLM, in ``cost_unit``; finite and at least 0. All that it costs, but for token
            prices.
        sums: Sums over calibration prompts that give the cluster errors.
        cost_unit: What ``cost`` is measured in, for people.
        cost_is_estimate: Whether the costs were estimated, not billed or listed.
        reference_cost: The cost that a cost weight refers to, in ``cost_unit``; it stays when LLMs come and go, so that
            a cost weight keeps its meaning.
        disabled: Names of LLMs that keep their place and their sums but are not chosen.
        drift: Test for drift of each LLM of which outcomes came in use, by name.
        token_costs: What comes to the cost of those LLMs, by name, that are paid by the token as well.
        latency: How long a call of each LLM takes of which that is known, by name.
        target: What routing shall give where no cost weight is asked for; it stays when LLMs come and go.

    Raises:
        PoolError: A name is empty or stands twice, a cost is negative or not finite, the reference cost is not
            positive, an LLM that is disabled or has token costs or a latency is unknown, or all are disabled.
    """

    names: tuple[str, ...]
    cost: CostVector
    sums: ClusterSums
    cost_unit: str
    cost_is_estimate: bool
    reference_cost: float
    disabled: frozenset[str] = frozenset()
    drift: Mapping[str, DriftTest] = field(default_factory=dict)
    token_costs: Mapping[str, TokenCost] = field(default_factory=dict)
    latency: Mapping[str, Latency] = field(default_factory=dict)
    target: Target | None = None

    def __post_init__(self) -> None:
        if not all(name.strip() for name in self.names):
            raise PoolError("pool: an LLM has an empty name. Give it one.")
        twice = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if twice:
            raise PoolError(f"pool: the name {twice[0]!r} stands more than once. Rename one of the LLMs.")
        for name, cost in zip(self.names, self.cost.tolist(), strict=True):
            check_cost(name, cost)
        if not 0 < self.reference_cost < float("inf"):
            raise PoolError(f"pool: reference cost {self.reference_cost}; expected a positive number.")
        for name in sorted(self.disabled.union(self.token_costs, self.latency)):
            self.find(name)
        if self.names and len(self.disabled) == len(self.names):
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
        none = torch.zeros(0, num_clusters)
        return cls(
            names=(),
            cost=torch.zeros(0, dtype=torch.float64),
            sums=ClusterSums(none, none),
            cost_unit=cost_unit,
            cost_is_estimate=cost_is_estimate,
            reference_cost=reference_cost,
        )

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
        return torch.tensor([name not in self.disabled for name in self.names], dtype=torch.bool)

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

    def check_latency(self, latency_weight: float) -> None:
        """Check that latency can count.

        Raises:
            PoolError: ``latency_weight`` is negative or not finite, or it is positive and the latency of an LLM that is
                not disabled is not known.
        """
        check_latency_weight(latency_weight)
        unknown = [name for name in self.names if name not in self.disabled and name not in self.latency]
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
        by_cluster = self.cost.new_zeros(len(self.names), len(share))
        if latency_weight > 0:
            for name, its_latency in self.latency.items():
                typical[self.find(name)] += latency_weight * its_latency.seconds
        for name, its in self.token_costs.items():
            row = self.find(name)
            slow = self.latency.get(name, Latency()).seconds_per_token
            answers = (its.price_out + latency_weight * slow) * its.output_tokens(shrinkage).to(self.cost.dtype)
            mean = answers @ share.to(self.cost.dtype)
            typical[row] += mean + its.price_in * typical_tokens
            by_token[row], by_cluster[row] = its.price_in, answers - mean
        return PromptCost(typical, by_cluster, by_token, typical_tokens)

    def with_llm(self, name: str, cost: float, sums: ClusterSums, token_cost: TokenCost | None = None) -> "LLMPool":
        """This pool and one LLM more, as the last one.

        Args:
            name: A name that the pool does not hold yet.
            cost: Cost of one call in ``cost_unit``.
            sums: Sums of that LLM alone, one row.
            token_cost: What comes to it where the LLM is paid by the token.

        Raises:
            PoolError: The name is taken, or the cost is negative or not finite.
        """
        check_cost(name, cost)
        self._check_new(name)
        joins = {} if token_cost is None else {name: token_cost}
        return replace(
            self,
            names=(*self.names, name),
            cost=torch.cat([self.cost, self.cost.new_tensor([cost])]),
            sums=ClusterSums(
                error=torch.cat([self.sums.error, sums.error.to(self.sums.error)]),
                weight=torch.cat([self.sums.weight, sums.weight.to(self.sums.weight)]),
            ),
            token_costs={**self.token_costs, **joins},
        )

    def select(self, names: Sequence[str]) -> "LLMPool":
        """The pool of the named LLMs alone, in that order.

        Raises:
            PoolError: A name is unknown or stands twice.
        """
        rows = torch.tensor([self.find(name) for name in names], dtype=torch.long)
        return replace(
            self,
            names=tuple(names),
            cost=self.cost[rows],
            sums=ClusterSums(self.sums.error[rows], self.sums.weight[rows]),
            disabled=self.disabled.intersection(names),
            drift={name: test for name, test in self.drift.items() if name in names},
            token_costs={name: cost for name, cost in self.token_costs.items() if name in names},
            latency={name: latency for name, latency in self.latency.items() if name in names},
        )

    def without_llm(self, name: str) -> "LLMPool":
        """This pool less one LLM.

        Raises:
            PoolError: The pool has no LLM of that name, or no other.
        """
        self.find(name)
        if len(self.names) == 1:
            raise PoolError(f"pool: {name!r} is the last LLM; a router needs one. Add another one first.")
        return self.select([other for other in self.names if other != name])

    def with_name(self, name: str, new_name: str) -> "LLMPool":
        """This pool with another name for one LLM.

        Raises:
            PoolError: The pool has no LLM of the old name, or one of the new name.
        """
        self.find(name)
        if new_name != name:
            self._check_new(new_name)
        new = {other: new_name if other == name else other for other in self.names}
        return replace(
            self,
            names=tuple(new.values()),
            disabled=frozenset(new[other] for other in self.disabled),
            drift={new[other]: test for other, test in self.drift.items()},
            token_costs={new[other]: cost for other, cost in self.token_costs.items()},
            latency={new[other]: latency for other, latency in self.latency.items()},
        )

    def _check_new(self, name: str) -> None:
        if name in self.names:
            raise PoolError(f"pool: {name!r} is in it already. Choose another name, or remove that LLM first.")

    def with_outcomes(self, name: str, sums: ClusterSums, drift: DriftTest) -> "LLMPool":
        """This pool with other sums of one LLM, one row, and its test for drift.

        Raises:
            PoolError: The pool has no LLM of that name.
        """
        row, changed = self.find(name), ClusterSums(self.sums.error.clone(), self.sums.weight.clone())
        changed.error[row], changed.weight[row] = sums.error[0], sums.weight[0]
        return replace(self, sums=changed, drift={**self.drift, name: drift})

    def with_cost(self, name: str, cost: float) -> "LLMPool":
        """This pool with another cost of one call of an LLM, in ``cost_unit``; the reference cost stays.

        Raises:
            PoolError: The pool has no LLM of that name, or the cost is negative or not finite.
        """
        changed = self.cost.clone()
        changed[self.find(name)] = cost
        return replace(self, cost=changed)

    def with_token_prices(self, name: str, price_in: float | None = None, price_out: float | None = None) -> "LLMPool":
        """This pool with other prices of an LLM that is paid by the token; one that is not given stays.

        Args:
            name: Name of the LLM.
            price_in: Cost of one token of a prompt [cost unit / token].
            price_out: Cost of one token of an answer [cost unit / token].

        Raises:
            PoolError: The pool has no such LLM, or a price is negative or not finite.
        """
        self.find(name)
        if name not in self.token_costs:
            raise PoolError(_no_lengths(name, "price by the token. Give one cost"))
        its = self.token_costs[name]
        changed = replace(
            its,
            price_in=its.price_in if price_in is None else price_in,
            price_out=its.price_out if price_out is None else price_out,
        )
        return replace(self, token_costs={**self.token_costs, name: changed})

    def with_latency(
        self, name: str, seconds: float | None = None, seconds_per_token: float | None = None
    ) -> "LLMPool":
        """This pool with another latency of an LLM; a part that is not given stays, 0 where none was known.

        Args:
            name: Name of the LLM.
            seconds: How long a call takes, but for what each token of the answer adds [seconds].
            seconds_per_token: What each token of the answer adds [seconds / token].

        Raises:
            PoolError: The pool has no such LLM, the length of its answers is not known and a token adds to it, or a
                number is negative or not finite.
        """
        self.find(name)
        if seconds_per_token and name not in self.token_costs:
            raise PoolError(_no_lengths(name, "latency by the token. Give the latency of a call"))
        its = self.latency.get(name, Latency())
        changed = Latency(
            seconds=its.seconds if seconds is None else seconds,
            seconds_per_token=its.seconds_per_token if seconds_per_token is None else seconds_per_token,
        )
        return replace(self, latency={**self.latency, name: changed})

    def with_availability(self, name: str, available: bool) -> "LLMPool":
        """This pool with an LLM that may or may not be chosen.

        Raises:
            PoolError: The pool has no LLM of that name, or no other that may be chosen.
        """
        self.find(name)
        return replace(self, disabled=self.disabled - {name} if available else self.disabled | {name})


def _no_lengths(name: str, what: str) -> str:
    return (
        f"pool: the length of the answers of {name!r} is not known, so it has no {what}, or remove it and add it by "
        "outcomes with output_tokens."
    )


def check_cost(name: str, cost: float) -> None:
    """Check the cost of an LLM.

    Raises:
        PoolError: It is negative, infinite or NaN.
    """
    if not 0 <= cost < float("inf"):
        raise PoolError(f"cost of {name!r}: got {cost}, expected a finite number of at least 0.")
