"""Choices for all cost weights at once: each prompt moves along the lower envelope of one line for each LLM."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from unirouter_torch.routing.decision import PAIRS_AT_ONCE, check_costs, check_estimates, order_by_cost, tie_tolerance
from unirouter_torch.routing.pruning import undominated_llms
from unirouter_torch.routing.token_cost import CostMatrix
from unirouter_torch.shapes import ClusterError, ClusterProbability, CostVector, ErrorMatrix, ObservedMatrix


class Envelope(NamedTuple):
    """The LLMs that each prompt moves along as the cost weight falls, prompt by prompt, from its cheapest to its best.

    Attributes:
        prompt: Row of the prompt.
        llm: Column of the LLM.
        cost_weight: From where on the prompt goes to this LLM, up to where it goes to the one before; 0 for its best.
        is_best: Whether it is the last LLM of its prompt, where the cost weight is 0.
    """

    prompt: Int[Tensor, " line"]
    llm: Int[Tensor, " line"]
    cost_weight: Float[Tensor, " line"]
    is_best: Bool[Tensor, " line"]

    @property
    def until(self) -> Float[Tensor, " line"]:
        """Cost weight from which on the prompt has left this LLM; infinite for its cheapest."""
        # the line before is that of the next cheaper LLM, but for the first line of a prompt
        return self.cost_weight.roll(1).masked_fill(self.is_best.roll(1), math.inf)

    def shares(self, cost_weight: float, num_llms: int) -> Float[Tensor, " llm"]:
        """Share of the prompts that each of ``num_llms`` LLMs takes at a cost weight."""
        takes = (self.cost_weight <= cost_weight) & (cost_weight < self.until)
        return torch.bincount(self.llm[takes], minlength=num_llms).double() / takes.sum().clamp(min=1)


def lower_envelope(estimated_error: ErrorMatrix, cost: CostVector | CostMatrix, tolerance: float = 0.0) -> Envelope:
    """Find the LLMs that win for some cost weight, and from which cost weight on.

    Args:
        estimated_error: Columns in the order of ties; infinite where an LLM is not available.
        cost: Of each LLM, ascending; or of each LLM on each prompt, in any order.
        tolerance: Largest difference of two sums that counts as none: the LLM of the lower column wins.

    Returns:
        The envelope in float64; prompts without an available LLM have no part in it.
    """
    if cost.ndim == 2:
        return _envelope_of_prompts(estimated_error, cost, tolerance)
    # only an LLM that is better than all cheaper ones can be chosen
    least_of_cheaper = functional.pad(estimated_error.cummin(-1).values[:, :-1], (1, 0), value=math.inf)
    prompt, llm = (estimated_error < least_of_cheaper - tolerance).nonzero(as_tuple=True)
    lines = prompt, llm, estimated_error[prompt, llm].double(), cost[llm].double()
    return _envelope_of_lines(*lines, tolerance, in_order=True)


def _envelope_of_prompts(estimated_error: ErrorMatrix, cost: CostMatrix, tolerance: float) -> Envelope:
    """The same where what an LLM costs depends on the prompt, so that each prompt has an order of its own."""
    rising = cost.argsort(dim=-1, stable=True)
    estimated_error = estimated_error.gather(-1, rising)
    least_of_cheaper = functional.pad(estimated_error.cummin(-1).values[:, :-1], (1, 0), value=math.inf)
    may_win = estimated_error.isfinite() & (estimated_error <= least_of_cheaper + tolerance)
    prompt, place = may_win.nonzero(as_tuple=True)
    llm = rising[prompt, place]
    lines = prompt, llm, estimated_error[prompt, place].double(), cost[prompt, llm].double()
    return _envelope_of_lines(*lines, tolerance, in_order=False)


def _envelope_of_lines(
    prompt: Int[Tensor, " line"],
    llm: Int[Tensor, " line"],
    estimate: Float[Tensor, " line"],
    cost: Float[Tensor, " line"],
    tolerance: float,
    *,
    in_order: bool,
) -> Envelope:
    """The envelope of lines that come prompt by prompt, from the cheapest LLM to the most expensive one.

    ``in_order`` says that this is the order of ties as well.
    """
    while True:
        is_best = prompt != prompt.roll(-1)
        is_best[-1:] = True
        # a tie goes to the lower column: to the cheaper LLM, unless costs depend on the prompt
        lead = tolerance if in_order else torch.where(llm < llm.roll(-1), tolerance, -tolerance).to(estimate)
        # cost weight at which the choice moves here from the next more expensive LLM, and on to the next cheaper one
        arrival = ((estimate - estimate.roll(-1) - lead) / (cost.roll(-1) - cost)).masked_fill(is_best, 0.0)
        departure = arrival.roll(1).masked_fill(is_best.roll(1), math.inf)
        # where departure comes first, the line of the LLM passes above the crossing of its neighbours' lines
        kept = (arrival < departure).nonzero().squeeze(-1)
        if len(kept) == len(prompt):
            return Envelope(prompt=prompt, llm=llm, cost_weight=arrival, is_best=is_best)
        prompt, llm, estimate, cost = (part.index_select(0, kept) for part in (prompt, llm, estimate, cost))


@torch.no_grad()
def choose_for_weights(
    cluster_probability: ClusterProbability,
    cluster_error: ClusterError,
    cost: CostVector,
    cost_weight: Float[Tensor, " weight"],
    available: ObservedMatrix | None = None,
) -> Int[Tensor, "prompt weight"]:
    """The choices of :func:`~unirouter_torch.routing.decision.choose_llms` for many cost weights, in one pass.

    The estimates of a few prompts are held at a time, and each prompt's choices are read off its breakpoints, so a
    further cost weight costs little more than its column of the result.

    Args:
        cluster_probability: Soft assignment of the prompts; rows sum to one.
        cluster_error: Cluster errors of the LLMs.
        cost: Cost of one prompt relative to a reference cost [1].
        cost_weight: Errors accepted to save one reference cost [1], in any order.
        available: Which LLMs may be chosen for which prompt; all by default.

    Returns:
        Column of the chosen LLM for each prompt and cost weight. Equal sums go to the cheaper LLM, then to the lower
        column. Three LLMs whose sums nearly tie may fall to another of the three than there.

    Raises:
        PoolError: As in ``choose_llms``.
    """
    check_costs(cost, *cost_weight.tolist())
    dtype, device = torch.promote_types(cluster_probability.dtype, torch.float32), cluster_probability.device
    by_cost = order_by_cost(cost).to(device)
    cluster_error = cluster_error.to(device, dtype)[by_cost]
    if available is None:
        # an LLM that is nowhere worse and comes earlier, so costs no more, wins at every cost weight
        kept = undominated_llms(cluster_error, torch.zeros_like(cluster_error[:, 0]), math.inf)
        by_cost, cluster_error = by_cost[kept], cluster_error[kept]
    cost, (weight, order) = cost.to(device)[by_cost], cost_weight.to(device).double().sort(descending=True)
    chosen = torch.empty(len(cluster_probability), len(weight), dtype=torch.long, device=device)
    num_prompts = max(1, PAIRS_AT_ONCE // max(len(by_cost), len(weight)))
    for start in range(0, len(chosen), num_prompts):
        prompts = slice(start, start + num_prompts)
        estimated = cluster_probability[prompts].to(dtype) @ cluster_error.T
        if available is not None:
            estimated.masked_fill_(~available[prompts].index_select(1, by_cost), math.inf)
        check_estimates(estimated.amin(1))
        envelope = lower_envelope(estimated, cost, tie_tolerance(dtype))
        # a prompt's LLMs stand from its cheapest to its best, which is the order of falling cost weights
        chosen[prompts] = by_cost[envelope.llm].repeat_interleave(_count(envelope, weight)).view(-1, len(weight))
    return chosen.index_select(1, order.argsort())


def _count(envelope: Envelope, weight: Float[Tensor, " weight"]) -> Int[Tensor, " line"]:
    """How many of the falling cost weights go to each LLM of the envelope."""
    first = torch.searchsorted(weight.flip(0), envelope.cost_weight)
    end = first.roll(1).masked_fill(envelope.is_best.roll(1), len(weight))
    return end - first
