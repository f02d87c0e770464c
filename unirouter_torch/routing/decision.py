"""The routing rule: the smallest estimated error plus weighted cost."""

# over 300 lines: the rule and its checks; a third is docstrings, which state ranges, ties and errors

import math
from collections.abc import Sequence
from heapq import heappop, heappush
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.pruning import undominated_llms
from unirouter_torch.shapes import (
    ClusterError,
    ClusterProbability,
    CostVector,
    ErrorMatrix,
    LLMIndex,
    LLMSubset,
    ObservedMatrix,
)

TIE_ROUNDINGS = 16
"""Sums that lie this many roundings of 1 apart, or closer, are equal; for float32 that is an error of 2e-6.

The order in which a device adds up an estimate moves it by less. So equal LLMs are a tie everywhere.
"""

PAIRS_AT_ONCE = 2**17
"""Pairs of prompt and LLM whose sums are held together: few enough to stay in the cache of a CPU."""

PRODUCTS_IN_NUMPY = 2**18
"""Multiplications up to which NumPy's product is the quicker one: beyond it calls up threads of its own."""

NO_LLM = "available: a prompt has no LLM to choose from. Leave it out, or make an LLM available."

PROMPTS_PER_LLM_TO_PRUNE = 64
"""With fewer prompts for each LLM, or pairs for one tile, looking for dominated LLMs costs more than it saves."""


class CostByLength(NamedTuple):
    """What the length of a prompt adds to the cost of each LLM: ``beyond(x) * price(h)``.

    Attributes:
        beyond: Length of each prompt beyond that of a typical one [tokens].
        price: Cost of one token relative to a reference cost [1 / token].
    """

    beyond: Float[Tensor, " prompt"]
    price: CostVector


class RankedLLMs(NamedTuple):
    """LLMs in the order of ties, with all of their sums that no prompt changes: made once, for any number of choices.

    Attributes:
        llm: Number of each, in the order of ties: from the cheapest to the most expensive, the lower one first where
            costs are equal.
        cluster_error: Their cluster errors, with what the cluster of a prompt adds by its cost [error].
        added: What their costs add beyond that of the cheapest [error].
        by_token: What each token of a prompt beyond a typical length adds [error / token]; None where nothing.
    """

    llm: LLMSubset
    cluster_error: ClusterError
    added: CostVector
    by_token: CostVector | None

    @classmethod
    def of(
        cls,
        llm: LLMSubset,
        cluster_error: ClusterError,
        cost: CostVector,
        cost_weight: float,
        by_token: CostVector | None = None,
    ) -> "RankedLLMs":
        """Rank LLMs.

        Args:
            llm: Number of each, ascending: what identifies a choice.
            cluster_error: Their cluster errors.
            cost: Cost of one prompt relative to a reference cost [1].
            cost_weight: Error accepted to save one reference cost [1]; 0 ignores cost.
            by_token: Cost of one token of a prompt relative to a reference cost [1 / token]; none by default.

        Raises:
            PoolError: ``cost_weight`` is negative or not finite, a cost is not finite, or there is no LLM.
        """
        check_costs(cost, cost_weight)
        dtype, device = torch.promote_types(cluster_error.dtype, torch.float32), cluster_error.device
        by_cost = order_by_cost(cost)
        added = (cost_weight * beyond_cheapest(cost))[by_cost].to(device, dtype)
        rate = None if by_token is None else (cost_weight * by_token)[by_cost].to(device, dtype)
        return cls(llm[by_cost].to(device), cluster_error.to(dtype)[by_cost.to(device)], added, rate)

    def to(self, device: torch.device, dtype: torch.dtype) -> "RankedLLMs":
        """The same on a device and in a precision."""
        if self.added.dtype == dtype and self.added.device == device:
            return self
        error, added = self.cluster_error.to(device, dtype), self.added.to(device, dtype)
        by_token = None if self.by_token is None else self.by_token.to(device, dtype)
        return RankedLLMs(self.llm.to(device), error, added, by_token)


def choose_llms(
    cluster_probability: ClusterProbability,
    cluster_error: ClusterError,
    cost: CostVector,
    cost_weight: float,
    available: ObservedMatrix | None = None,
    by_length: CostByLength | None = None,
) -> LLMIndex:
    """Pick the LLM with the smallest ``p(x) . Psi(h) + cost_weight * cost`` for every prompt.

    The sums of a few prompts are held at a time, never all, so memory beyond the inputs does not grow with the
    prompts (with ``by_length`` the probabilities are copied once). Arithmetic is in float32 (float64 for float64
    probabilities), whatever the precision of the inputs. On CUDA one Triton kernel does all of it, where Triton is
    installed.

    Args:
        cluster_probability: Soft assignment of the prompts; rows sum to one.
        cluster_error: Cluster errors of the LLMs.
        cost: Cost of one prompt relative to a reference cost [1].
        cost_weight: Error accepted to save one reference cost [1]; 0 ignores cost.
        available: Which LLMs may be chosen for which prompt; all by default.
        by_length: What the length of a prompt adds to the cost; nothing by default.

    Returns:
        Column of the chosen LLM. Equal sums go to the cheaper LLM, then to the lower column.

    Raises:
        PoolError: ``cost_weight`` is negative or not finite, a cost is not finite, a prompt has no available LLM, or an
            estimate is not a number.

    Source: UniRoute (arXiv:2502.08773), plug-in routing rule.
    """
    dtype = torch.promote_types(cluster_probability.dtype, torch.float32)
    beyond, price = (None, None) if by_length is None else by_length
    error = cluster_error.to(cluster_probability.device, dtype)
    is_plain = available is None and by_length is None and error.is_cpu
    if is_plain and 0 < cluster_probability.shape[0] * cost.shape[0] <= PAIRS_AT_ONCE:
        chosen = _choose_in_one_tile(cluster_probability.to(dtype), error, cost, cost_weight)
        if chosen is not None:
            return chosen
    ranked = RankedLLMs.of(torch.arange(len(cost)), error, cost, cost_weight, price)
    return choose_ranked(ranked, cluster_probability, beyond, available)


def _choose_in_one_tile(
    cluster_probability: ClusterProbability, cluster_error: ClusterError, cost: CostVector, cost_weight: float
) -> LLMIndex | None:
    """The choice in few calls, without an order of LLMs; None where a number is out of range."""
    costs = cost.detach().numpy()
    if not (0 <= cost_weight < math.inf and -math.inf < np.add.reduce(costs) < math.inf):
        return None
    added = cost_weight * (costs - np.minimum.reduce(costs))
    tolerance = tie_tolerance(cluster_error.dtype)
    probability, error = cluster_probability.detach(), cluster_error.detach()
    (num_prompts, num_clusters), num_llms = probability.shape, error.shape[0]
    # of prompts and LLMs those that are more lie side by side, as in _sums
    axis = int(num_llms > num_prompts)
    left, right = (probability, error) if axis == 1 else (error, probability)
    is_small = num_prompts * num_llms * num_clusters <= PRODUCTS_IN_NUMPY
    sums = left.numpy() @ right.numpy().T if is_small else (left @ right.T).numpy()
    added = added.astype(sums.dtype, copy=False)
    sums += added if axis == 1 else added[:, None]
    least = np.minimum.reduce(sums, axis, keepdims=True)
    # of a prompt with NaN no sum is beyond the least
    is_least = np.logical_not(sums > least + tolerance)
    chosen = is_least.argmax(axis)
    if num_llms == 1 or np.count_nonzero(is_least) > num_prompts:
        if not np.maximum.reduce(least, None) < math.inf:
            return None
        is_least = is_least if axis == 1 else is_least.T
        ties = np.count_nonzero(is_least, 1) > 1
        # argmin returns the first of equal values, so equal costs go to the lower column
        chosen[ties] = np.where(is_least[ties], costs, math.inf).argmin(1)
    return torch.from_numpy(chosen)


def choose_ranked(
    ranked: RankedLLMs,
    cluster_probability: ClusterProbability,
    beyond: Float[Tensor, " prompt"] | None = None,
    available: Bool[Tensor, "prompt all_llms"] | None = None,
) -> LLMIndex:
    """The choice of :func:`choose_llms` among LLMs that are ranked already.

    Args:
        ranked: The LLMs.
        cluster_probability: Soft assignment of the prompts; rows sum to one.
        beyond: Length of each prompt beyond that of a typical one [tokens]; needed where ``ranked`` has ``by_token``.
        available: Which LLMs may be chosen for which prompt, in the columns that ``ranked.llm`` names; all by default.

    Returns:
        ``ranked.llm`` of the chosen LLM of each prompt.

    Raises:
        PoolError: A prompt has no available LLM, or an estimate is not a number.
    """
    dtype, device = torch.promote_types(cluster_probability.dtype, torch.float32), cluster_probability.device
    llm, cluster_error, added, by_token = ranked.to(device, dtype)
    num_prompts = len(cluster_probability)
    may_prune = available is None and by_token is None and num_prompts * len(llm) > PAIRS_AT_ONCE
    if may_prune and num_prompts >= PROMPTS_PER_LLM_TO_PRUNE * len(llm):
        kept = undominated_llms(cluster_error, added, tie_tolerance(dtype))
        llm, added, cluster_error = llm[kept], added[kept], cluster_error[kept]
    if by_token is not None:
        assert beyond is not None
        # beyond(x) * price(h) is one more term of the inner product
        cluster_probability = torch.cat([cluster_probability.to(dtype), beyond.to(device, dtype).unsqueeze(1)], 1)
        cluster_error = torch.cat([cluster_error, by_token.unsqueeze(1)], 1)
    if device.type == "cuda" and dtype == torch.float32 and find_spec("triton") is not None:
        from unirouter_torch.routing.fused import choose_fused

        mask = None if available is None else (available.to(device), llm)
        place, least = choose_fused(cluster_probability, cluster_error, added, tie_tolerance(dtype), mask)
        check_estimates(least)
        return llm[place]
    # fewer prompts than clusters would read the cluster errors more often than the sums
    step = max(1, PAIRS_AT_ONCE // len(llm), cluster_error.shape[1])
    chosen = [llm[:0]]
    for start in range(0, num_prompts, step):
        prompts = slice(start, start + step)
        is_open = None if available is None else available[prompts][:, llm].to(device)
        total, axis = _sums(cluster_probability[prompts].to(dtype), cluster_error, added, is_open)
        chosen.append(llm[_first_of_least(total, axis)])
    return torch.cat(chosen)


def _sums(
    cluster_probability: ClusterProbability,
    cluster_error: ClusterError,
    added: CostVector,
    available: ObservedMatrix | None = None,
) -> tuple[Float[Tensor, "_ _"], int]:
    """The sums of the prompts of a tile, infinite where an LLM may not be chosen, and the axis of the LLMs.

    Of prompts and LLMs those that are more are side by side in memory: so minima are taken by whole vectors.
    """
    if added.shape[0] > cluster_probability.shape[0]:
        total = torch.addmm(added, cluster_probability, cluster_error.T)
        return total if available is None else total.masked_fill_(~available, math.inf), 1
    total = torch.addmm(added.unsqueeze(1), cluster_error, cluster_probability.T)
    return total if available is None else total.masked_fill_(~available.T, math.inf), 0


def _first_of_least(total: Float[Tensor, "_ _"], axis: int) -> LLMIndex:
    """Place in the order of ties of the first least sum of each prompt; ``axis`` is that of the LLMs."""
    if not total.is_cpu:
        total = total if axis == 1 else total.T
        check_estimates(total.amin(1))
        return least_total(total, torch.arange(total.shape[1], device=total.device))
    sums = total.detach().numpy()  # several times as fast here as torch
    least = np.minimum.reduce(sums, axis, keepdims=True)
    if not np.maximum.reduce(least, None) < torch.finfo(total.dtype).max:
        check_estimates(torch.from_numpy(least))
    # argmax returns the first of equal values
    return torch.from_numpy((sums <= least + tie_tolerance(total.dtype)).argmax(axis))


def choose_llm(
    estimated_error: ErrorMatrix,
    cost: CostVector,
    cost_weight: float,
    available: ObservedMatrix | None = None,
) -> LLMIndex:
    """The same choice from given estimated errors, of any routing method.

    Args:
        estimated_error: Estimated error of each LLM on each prompt, in [0, 1].
        cost: Cost of one prompt relative to a reference cost [1].
        cost_weight: Error accepted to save one reference cost [1]; 0 ignores cost.
        available: Which LLMs may be chosen for which prompt; all by default.

    Returns:
        Column of the chosen LLM. Equal sums go to the cheaper LLM, then to the lower column.

    Raises:
        PoolError: As in :func:`choose_llms`.
    """
    check_costs(cost, cost_weight)
    if available is not None:
        if not available.any(-1).all():
            raise PoolError(NO_LLM)
        estimated_error = estimated_error.masked_fill(~available, math.inf)
    dtype = torch.promote_types(estimated_error.dtype, torch.float32)
    return least_total(estimated_error + (cost_weight * beyond_cheapest(cost)).to(dtype), order_by_cost(cost))


def least_total(total: ErrorMatrix, by_cost: LLMSubset, tolerance: float | None = None) -> LLMIndex:
    """The tie rule: of the least sums of each prompt, those within a tolerance, the first in order of cost.

    Without checks, as a graph can hold it that another program runs.

    Args:
        total: Estimated error plus weighted cost; infinite where an LLM may not be chosen.
        by_cost: What :func:`order_by_cost` gives.
        tolerance: Largest difference of two sums that counts as none; :func:`tie_tolerance` by default.
    """
    tolerance = tie_tolerance(torch.promote_types(total.dtype, torch.float32)) if tolerance is None else tolerance
    total = total[:, by_cost]
    # argmax returns the first of equal values, so columns in order of cost send ties to the cheaper LLM
    return by_cost[(total <= total.amin(-1, keepdim=True) + tolerance).to(torch.int32).argmax(-1)]


def rank_totals(total: Sequence[float], tolerance: float) -> list[int]:
    """Places from the best to the worst by the tie rule: the choice, then the choice without it, and so on.

    Args:
        total: Estimated error plus weighted cost of LLMs in order of cost.
        tolerance: Largest difference of two sums that counts as none.
    """
    waiting = sorted(range(len(total)), key=lambda place: (-total[place], -place))
    ranked: list[int] = []
    ties: list[int] = []
    while waiting or ties:
        least = min(total[place] for place in (*ties, *waiting[-1:]))
        while waiting and total[waiting[-1]] <= least + tolerance:
            heappush(ties, waiting.pop())
        ranked.append(heappop(ties))
    return ranked


def check_costs(cost: CostVector, *cost_weights: float) -> None:
    """Check costs and cost weights.

    Raises:
        PoolError: There is no LLM, a cost weight is negative or not finite, or a cost is not finite.
    """
    for weight in cost_weights:
        if not 0 <= weight < math.inf:
            raise PoolError(f"cost_weight: expected a finite number of at least 0, got {weight}.")
    if len(cost) == 0:
        raise PoolError("pool: empty, there is nothing to choose. Call router.calibrate with your outcomes first.")
    if not torch.isfinite(cost).all():
        raise PoolError("cost: expected finite numbers, got NaN or infinity. Give every LLM of the pool a cost.")


def check_estimates(least: Float[Tensor, "..."]) -> None:
    """Check the least sums of some prompts.

    Raises:
        PoolError: One is not a number, or out of reach.
    """
    if not (least < torch.finfo(least.dtype).max).all():
        if least.isnan().any():
            raise PoolError("cluster_probability, cluster_error: expected finite numbers, got NaN. Fix the estimates.")
        raise PoolError(NO_LLM)


def beyond_cheapest(cost: CostVector) -> CostVector:
    """Cost of each LLM less that of the cheapest.

    What all LLMs share decides nothing. Without it the least sum lies in [0, 1], where rounding is known.
    """
    return cost - cost.min()


def order_by_cost(cost: CostVector) -> LLMSubset:
    """Columns from the cheapest to the most expensive, the lower one first where costs are equal: the order of ties."""
    return torch.argsort(cost, stable=True)


def tie_tolerance(dtype: torch.dtype) -> float:
    """Largest difference of two sums that counts as none."""
    return TIE_ROUNDINGS * torch.finfo(dtype).eps
