"""Choices for all cost weights at once: each prompt moves along the lower envelope of one line for each LLM."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from unirouter_torch.routing.token_cost import CostMatrix
from unirouter_torch.shapes import CostVector, ErrorMatrix


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
