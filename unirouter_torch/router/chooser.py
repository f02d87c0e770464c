"""All that decides which LLM a prompt goes to, worked out once: cluster errors, costs, cost weight, order of ties."""

# over 300 lines: a third is docstrings, which state options, ties and errors once for all callers

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unirouter_torch.config.router import DEFAULT_COST_WEIGHT
from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.errors import PoolError
from unirouter_torch.router.calibration import CalibrationPrompts, cost_of_prompts
from unirouter_torch.router.route import Route
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error
from unirouter_torch.routing.decision import (
    RankedLLMs,
    check_costs,
    choose_ranked,
    order_by_cost,
    tie_tolerance,
)
from unirouter_torch.routing.envelope import Envelope, lower_envelope
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.target import Target, Tuned, tune_cost_weight
from unirouter_torch.routing.token_cost import PromptCost
from unirouter_torch.shapes import ClusterError, ClusterProbability, ErrorMatrix, LLMIndex, LLMSubset, ObservedMatrix

_LLMS_AT_ONCE = 256
_MOST_KEPT = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Chooser:
    """Chooses among the LLMs of a pool. One rule: the least estimated error plus weighted cost, ties by cost.

    Sums that differ by rounding alone are equal; equal sums go to the LLM of the lower typical cost, then to the one
    that comes first in the pool. All methods take the cluster probabilities of prompts and their lengths, and give
    positions in the pool. An LLM is never chosen for a prompt that is longer than its context.

    Attributes:
        pool: The LLMs.
        features: Their cluster errors, as cautious as was asked for.
        cost: What prompts cost with each, in the pool's unit, with latency where that counts.
        cost_weight: Error accepted to save one reference cost [1].
        may_be_chosen: Which LLMs may be chosen.

    Raises:
        PoolError: The cost weight is negative or not finite, or there is no LLM.
    """

    pool: LLMPool
    features: ClusterError
    cost: PromptCost
    cost_weight: float
    may_be_chosen: Bool[Tensor, " llm"]

    def __post_init__(self) -> None:
        check_costs(self.pool.cost, self.cost_weight)

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        head: ClusterHead,
        calibration: CalibrationPrompts,
        pool: LLMPool,
        *,
        cost_weight: float | None = None,
        latency_weight: float | None = None,
        caution: float | None = None,
        llms: Sequence[str] | None = None,
    ) -> "Chooser":
        """What chooses among the LLMs of a pool.

        Args:
            head: Whose clusters the sums of the pool belong to.
            calibration: What a typical prompt is, and what a target is met on.
            pool: The LLMs.
            cost_weight: Error accepted to save one reference cost (by default that of the most expensive LLM at
                training) [1]; 0 asks for quality alone. That of the pool's target by default, or 0.1.
            latency_weight: What a second costs [cost unit / second]; the expected latency of an LLM then adds to its
                cost. 0 leaves it out. That of the pool's target by default, or 0.
            caution: Count each cluster error as the bound that it is below with this probability, in [0.5, 1): an LLM
                of which little is known is then taken for a worse one. As it is estimated when not given.
            llms: Names of the LLMs that may be chosen, of those that are not disabled; all by default. A pool's target
                is met over all LLMs, without caution.

        Raises:
            PoolError: A weight is negative or not finite, ``caution`` is out of range, the pool is empty, a latency
                counts that is not known, or ``llms`` has an unknown name or leaves no choice.
        """
        latency_weight = pool.latency_weight if latency_weight is None else latency_weight
        plain = cls(
            pool=pool,
            features=head.cluster_error(pool.sums.to(head.device)),
            cost=cost_of_prompts(head, calibration, pool, latency_weight),
            cost_weight=DEFAULT_COST_WEIGHT if cost_weight is None else cost_weight,
            may_be_chosen=pool.available,
        )
        if cost_weight is None and pool.target is not None:
            plain = plain.at(plain.tune(calibration, pool.target).cost_weight)
        if caution is not None:
            plain = replace(plain, features=cautious_errors(head, pool, caution))
        return plain if llms is None else plain.among(llms)

    def at(self, cost_weight: float) -> "Chooser":
        """The same at another cost weight.

        Raises:
            PoolError: It is negative or not finite.
        """
        return self if cost_weight == self.cost_weight else replace(self, cost_weight=cost_weight)

    def among(self, llms: Sequence[str]) -> "Chooser":
        """The same among some LLMs, as far as they are not disabled.

        Raises:
            PoolError: A name is unknown, or none of the LLMs may be chosen.
        """
        named = torch.zeros_like(self.may_be_chosen)
        named[[self.pool.find(name) for name in llms]] = True
        may_be_chosen = self.may_be_chosen & named
        if not may_be_chosen.any():
            named_ones = ", ".join(llms) or "no names"
            raise PoolError(f"llms: none of {named_ones} may be chosen. Name one that is not disabled.")
        return replace(self, may_be_chosen=may_be_chosen)

    @cached_property
    def order(self) -> LLMSubset:
        """All LLMs from the lowest typical cost to the highest: the order of ties."""
        return order_by_cost(self.cost.typical)

    @cached_property
    def relative_cost(self) -> PromptCost:
        """What prompts cost relative to the reference cost [1]."""
        return self.cost.scaled(1 / self.pool.reference_cost)

    @cached_property
    def _ranked(self) -> RankedLLMs:
        rows = self.may_be_chosen.nonzero().squeeze(-1)
        cost = self.relative_cost.of_llms(rows)
        # probabilities sum to one, so a cost that depends on the cluster is one more part of the cluster error
        features = self.features[rows] + (self.cost_weight * cost.by_cluster).to(self.features)
        by_token = cost.by_token if cost.by_token.any() else None
        return RankedLLMs.of(rows, features, cost.typical, self.cost_weight, by_token)

    @cached_property
    def _context(self) -> Float[Tensor, " llm"]:
        limits = [llm.context_tokens for llm in self.pool.llms]
        return torch.tensor([math.inf if limit is None else float(limit) for limit in limits], dtype=torch.float64)

    def _open_to(self, tokens: Float[Tensor, " prompt"]) -> Bool[Tensor, "prompt llm"] | None:
        """Which LLMs may be chosen for prompts of some lengths; none where all that may be chosen take all of them."""
        if len(tokens) == 0 or tokens.max() <= self._context[self.may_be_chosen].min():
            return None
        return self.may_be_chosen & (tokens[:, None] <= self._context)

    def choose(
        self,
        probability: ClusterProbability,
        tokens: Float[Tensor, " prompt"],
        available: ObservedMatrix | None = None,
    ) -> LLMIndex:
        """The LLM of each prompt; memory does not grow with prompts x LLMs.

        Args:
            probability: Cluster probabilities of the prompts.
            tokens: Their lengths [tokens].
            available: Which LLMs of the pool may be chosen for which prompt, of those that may be chosen at all.

        Raises:
            PoolError: A prompt has no LLM that may be chosen or that it fits, or an estimate is not a number.
        """
        open_to = self._open_to(tokens)
        if open_to is not None:
            if len(unfit := (~open_to.any(-1)).nonzero().flatten()):
                longest = int(self._context[self.may_be_chosen].max())
                raise PoolError(
                    f"prompts: number {int(unfit[0]) + 1} has about {int(tokens[unfit[0]]):,} tokens, more than the "
                    f"{longest:,} that the LLMs that may be chosen take at most. Shorten it, or add an LLM with a "
                    "longer context."
                )
            available = open_to if available is None else available & open_to
        return choose_ranked(self._ranked, probability, tokens - self.cost.typical_tokens, available)

    def estimate_error(self, probability: ClusterProbability) -> ErrorMatrix:
        """Estimated error of every LLM on each prompt, in [0, 1], whether it may be chosen or not."""
        return estimate_error(probability, self.features.to(probability.device))

    def totals(self, probability: ClusterProbability, tokens: Float[Tensor, " prompt"]) -> ErrorMatrix:
        """Estimated error plus weighted cost of every LLM on each prompt, in float64; infinite for the others.

        Args:
            probability: Cluster probabilities of the prompts.
            tokens: Their lengths [tokens].
        """
        estimated, cost = self._lines(probability, tokens)
        return estimated + self.cost_weight * cost

    def _lines(
        self, probability: ClusterProbability, tokens: Float[Tensor, " prompt"]
    ) -> tuple[ErrorMatrix, ErrorMatrix]:
        """Estimated error, infinite where an LLM may not be chosen, and relative cost of every LLM, in float64."""
        probability = probability.cpu()
        open_to = self._open_to(tokens)
        open_to = self.may_be_chosen if open_to is None else open_to
        estimated = self.estimate_error(probability).double().masked_fill(~open_to, math.inf)
        return estimated, self.relative_cost.of_prompts(probability, tokens)

    def curve(self, probability: ClusterProbability, tokens: Float[Tensor, " prompt"]) -> Envelope:
        """The choices for all cost weights at once.

        Args:
            probability: Cluster probabilities of the prompts.
            tokens: Their lengths [tokens].
        """
        estimated, cost = (part[:, self.order] for part in self._lines(probability, tokens))
        found = lower_envelope(estimated, cost, tie_tolerance(torch.float32))
        return found._replace(llm=self.order[found.llm])

    def routes(self, probability: ClusterProbability, tokens: Float[Tensor, " prompt"]) -> list[Route]:
        """The LLM of each prompt, with the estimates and costs of all.

        Args:
            probability: Cluster probabilities of the prompts.
            tokens: Their lengths [tokens].

        Raises:
            PoolError: As in :meth:`choose`.
        """
        chosen, names = self.choose(probability, tokens), self.pool.names
        estimated, cost = self.estimate_error(probability), self.cost.of_prompts(probability.cpu(), tokens)
        total, order = self.totals(probability, tokens), self.order.tolist()
        return [
            Route(
                llm=names[column],
                estimated_error=dict(zip(names, errors, strict=True)),
                cost=dict(zip(names, costs, strict=True)),
                total={names[llm]: sums[llm] for llm in order if sums[llm] < math.inf},
            )
            for column, errors, costs, sums in zip(
                chosen.tolist(), estimated.tolist(), cost.tolist(), total.tolist(), strict=True
            )
        ]

    @torch.no_grad()
    def tune(self, calibration: CalibrationPrompts, target: Target) -> Tuned:
        """The cost weight that meets a target on the calibration prompts, by estimated errors and expected costs.

        Args:
            calibration: The prompts; those that no LLM can take are left out.
            target: What is wanted. Costs are what they are here: its latency weight is not looked at.
        """
        tokens = count_tokens(calibration.texts)
        estimated, _ = self._lines(calibration.cluster_probability, tokens)
        cost = self.cost.of_prompts(calibration.cluster_probability.cpu(), tokens)
        rows, llms = estimated.isfinite().any(-1), self.may_be_chosen.nonzero().squeeze(-1)
        by_cost = order_by_cost(self.cost.typical[llms])
        return tune_cost_weight(
            estimated[rows][:, llms], cost[rows][:, llms], self.pool.reference_cost, target, by_cost
        )


def cautious_errors(head: ClusterHead, pool: LLMPool, caution: float) -> ClusterError:
    """Bounds that the cluster errors of a pool are below with a probability, and never below the estimates.

    Args:
        head: Whose clusters they are.
        pool: The LLMs.
        caution: The probability, in [0.5, 1).

    Raises:
        PoolError: ``caution`` is out of range.
    """
    if not 0.5 <= caution < 1:
        raise PoolError(f"caution: got {caution}, expected a probability in [0.5, 1), such as 0.9.")
    sums = pool.sums.to(head.device)
    parts = zip(*(torch.split(part, _LLMS_AT_ONCE) for part in sums), strict=True)
    bound = torch.cat([head.cluster_error_quantiles(ClusterSums(*part), [caution])[0] for part in parts])
    return torch.maximum(head.cluster_error(sums), bound)  # of a very skewed belief the mean lies above the bound


class KeptChoosers:
    """The choosers of one pool with one set of calibration prompts: each is made once, and anew for another head."""

    def __init__(self) -> None:
        self._kept: dict[tuple[float | bool | None, ...], Chooser] = {}

    def of(
        self,
        head: ClusterHead,
        calibration: CalibrationPrompts,
        pool: LLMPool,
        cost_weight: float | None,
        *,
        latency_weight: float | None = None,
        caution: float | None = None,
        llms: Sequence[str] | None = None,
    ) -> Chooser:
        """As :meth:`Chooser.of`; changes of the head in place count, other tensors are never changed in place."""
        key = (cost_weight is None, latency_weight, caution, *head.prior())
        chooser = self._kept.get(key)
        if chooser is None:
            if len(self._kept) >= _MOST_KEPT:  # clients of a server may ask with any caution
                self._kept.clear()
            chooser = Chooser.of(
                head, calibration, pool, cost_weight=cost_weight, latency_weight=latency_weight, caution=caution
            )
            self._kept[key] = chooser
        chooser = chooser if cost_weight is None else chooser.at(cost_weight)
        return chooser if llms is None else chooser.among(llms)
