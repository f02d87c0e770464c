"""Exact pruning: LLMs that win no prompt are dropped before any prompt is looked at."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unirouter_torch.shapes import ClusterError, CostVector, LLMSubset

LLMS_AT_ONCE = 256
"""LLMs that are compared with the others together; bounds the memory and changes no result."""


def undominated_llms(cluster_error: ClusterError, added: CostVector, tolerance: float) -> Int[Tensor, " kept"]:
    """LLMs that may be chosen for some prompt; each of the others is dominated by one of them.

    An estimate is linear on the simplex of cluster probabilities. So an LLM whose cluster error plus weighted cost is
    nowhere below another's is below it on no prompt, and loses the ties as well if it comes later. One that comes
    earlier is dominated only if it is worse by more than a tie everywhere.

    Args:
        cluster_error: Cluster errors of the LLMs, in the order in which ties are broken.
        added: What the cost of each LLM adds to its error.
        tolerance: Largest difference of two sums that counts as none, positive.

    Returns:
        Rows that remain, ascending.
    """
    total = cluster_error + added.unsqueeze(-1)
    # an LLM has no larger mean than those it dominates; and what dominates its dominator dominates it as well
    by_mean = torch.argsort(total.mean(-1), stable=True)
    remaining = by_mean[:0]
    for llms in torch.split(by_mean, LLMS_AT_ONCE):
        for others in (remaining, llms):
            llms = llms[~_is_dominated(total, llms, others, tolerance)]
        remaining = torch.cat([remaining, llms])
    return remaining.sort().values


def _is_dominated(
    total: Float[Tensor, "any cluster"], llms: LLMSubset, others: Int[Tensor, " other"], tolerance: float
) -> Bool[Tensor, " llm"]:
    stands_earlier = others < llms.unsqueeze(-1)
    margin = torch.where(stands_earlier, 0.0, 2 * tolerance).to(total.dtype)
    dominates = others != llms.unsqueeze(-1)
    for total_there in total.T:
        dominates &= total_there[others] + margin <= total_there[llms].unsqueeze(-1)
        if not dominates.any():
            break
    return dominates.any(-1)
