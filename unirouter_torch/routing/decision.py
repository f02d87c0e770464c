"""The routing rule: the smallest estimated error plus weighted cost."""

# over 300 lines: the rule, its checks and the two ways to compute it must agree, and are read together

import math
from collections.abc import Sequence
from heapq import heappop, heappush
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

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

if TYPE_CHECKING:
    from numpy.typing import NDArray

TIE_ROUNDINGS = 16
"""Sums that lie this many roundings of 1 apart, or closer, are equal; for float32 that is an error of 2e-6.

The order in which a device adds up an estimate moves it by less. So equal LLMs are a tie everywhere.
"""

PAIRS_AT_ONCE = 2**20
"""Pairs of prompt and LLM whose sums are held together: few enough to stay in the cache of a CPU."""

NO_LLM = "available: a prompt has no LLM to choose from. Leave it out, or make an LLM available."

PAIRS_OF_PLAIN_CHOICE = 2**17
"""Up to this many pairs of prompt and LLM the plain way is the fastest."""

PAIRS_IN_NUMPY = 2**12
"""Up to this many NumPy is faster than torch, whose calls take several times as long as what they do here."""

RUNS_TOGETHER = 32
"""Runs of LLMs side by side come in this number, which the vector units of a CPU take at once."""

_TOLERANCE = np.float32(TIE_ROUNDINGS * 2.0**-23)

PROMPTS_PER_LLM_TO_PRUNE = 64
"""With fewer prompts for each LLM, looking for dominated LLMs costs more than it saves."""


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
    if available is None and by_length is None and cluster_probability.is_cpu:
        num_pairs = cluster_probability.shape[0] * cost.shape[0]
        if 0 < num_pairs <= PAIRS_IN_NUMPY and _is_plain(cluster_probability, cluster_error, cost):
            chosen = _choose_in_numpy(cluster_probability.numpy(), cluster_error.numpy(), cost.numpy(), cost_weight)
            if chosen is not None:
                return torch.from_numpy(chosen)
        if num_pairs <= PAIRS_OF_PLAIN_CHOICE:
            return _choose_plainly(cluster_probability, cluster_error, cost, cost_weight)
    dtype = torch.promote_types(cluster_probability.dtype, torch.float32)
    beyond, price = (None, None) if by_length is None else by_length
    error = cluster_error.to(cluster_probability.device, dtype)
    ranked = RankedLLMs.of(torch.arange(len(cost)), error, cost, cost_weight, price)
    return choose_ranked(ranked, cluster_probability, beyond, available)


@torch.no_grad()
def _choose_plainly(
    cluster_probability: ClusterProbability, cluster_error: ClusterError, cost: CostVector, cost_weight: float
) -> LLMIndex:
    """The choice as one writes it down, without an order made first: for few pairs of prompt and LLM the fastest."""
    check_costs(cost, cost_weight)
    dtype = torch.promote_types(cluster_probability.dtype, torch.float32)
    added = (cost_weight * beyond_cheapest(cost)).to(dtype)
    total = torch.addmm(added, cluster_probability.to(dtype), cluster_error.to(dtype).T)
    least, chosen = total.min(1)
    limit = (least + tie_tolerance(total.dtype)).unsqueeze(1)
    if _leaves_one_each(int((total > limit).count_nonzero()), total.shape):
        return chosen
    check_estimates(least)
    # argmin returns the first of equal values, so equal costs go to the lower column
    return torch.where(total <= limit, cost, math.inf).argmin(1)


def _is_plain(*tensors: Tensor) -> bool:
    """Whether NumPy computes with these as they are."""
    return all(one.dtype == torch.float32 and one.is_cpu and not one.requires_grad for one in tensors)


def _choose_in_numpy(
    cluster_probability: "NDArray[np.floating]",
    cluster_error: "NDArray[np.floating]",
    cost: "NDArray[np.floating]",
    cost_weight: float,
) -> "NDArray[np.intp] | None":
    """The same in few calls, in float32, where no two sums tie; none where some do or a number is out of range."""
    total = cluster_probability @ cluster_error.T
    least_cost = np.minimum.reduce(cost)
    if not (0 <= cost_weight < math.inf and float(np.maximum.reduce(cost)) - float(least_cost) < math.inf):
        return None
    total += cost_weight * (cost - least_cost)
    limit = np.minimum.reduce(total, 1, keepdims=True)
    limit += _TOLERANCE
    return total.argmin(1) if _leaves_one_each(int(np.count_nonzero(total > limit)), total.shape) else None


def _leaves_one_each(num_beyond: int, shape: tuple[int, ...]) -> bool:
    """Whether each row has one number within its limit; a row with NaN has none beyond, so that it is found too."""
    num_prompts, num_llms = shape
    return num_llms > 1 and num_beyond == num_prompts * (num_llms - 1)


@torch.no_grad()
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
    if available is None and by_token is None and len(cluster_probability) >= PROMPTS_PER_LLM_TO_PRUNE * len(llm):
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
    if len(cluster_probability) * len(llm) <= PAIRS_OF_PLAIN_CHOICE:
        total = torch.addmm(added, cluster_probability.to(dtype), cluster_error.T)
        if available is not None:
            total = total.masked_fill_(~available[:, llm], math.inf)
        return llm[_first_of_least(total)]
    return _choose_in_tiles(cluster_probability, cluster_error, added, llm, available)


def _choose_in_tiles(
    cluster_probability: ClusterProbability,
    cluster_error: ClusterError,
    added: CostVector,
    by_cost: LLMSubset,
    available: Bool[Tensor, "prompt all_llms"] | None,
) -> LLMIndex:
    """The choice among LLMs in order of cost, for a few prompts at a time."""
    deck = _deal(len(by_cost), by_cost.device)
    added = added[deck.place].masked_fill(deck.is_blank, math.inf)
    transposed, llm = cluster_error[deck.place].T.contiguous(), by_cost[deck.place]
    num_prompts = max(1, PAIRS_AT_ONCE // len(llm))
    total = added.new_empty(min(num_prompts, len(cluster_probability)), len(llm))
    chosen = by_cost.new_empty(len(cluster_probability))
    for start in range(0, len(chosen), num_prompts):
        prompts = slice(start, start + num_prompts)
        probability = cluster_probability[prompts].to(total.dtype)
        tile = torch.addmm(added, probability, transposed, out=total[: len(probability)])
        if available is not None:
            _close(tile, available[prompts], llm)
        torch.index_select(by_cost, 0, _first_least(tile.view(len(tile), deck.length, -1)), out=chosen[prompts])
    return chosen


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


class _Deck(NamedTuple):
    """How LLMs in order of cost are dealt to the columns of a matrix.

    Seen as ``length`` rows, each column of these rows holds a run of LLMs, the cheapest run first. The minimum over
    the rows is then one of neighbouring vectors, which is fast, and tells which run holds the least sum.

    Attributes:
        place: Place in order of cost of each column's LLM.
        is_blank: Columns that only fill up.
        length: LLMs of one run; there are about as many runs.
    """

    place: LLMSubset
    is_blank: Bool[Tensor, " llm"]
    length: int


def _deal(num_llms: int, device: torch.device) -> _Deck:
    # a run of one LLM each where there are few, so that none is blank; otherwise about as many runs as LLMs of a run
    multiple = max(1, round(math.sqrt(num_llms) / RUNS_TOGETHER))
    num_runs = num_llms if num_llms <= 2 * RUNS_TOGETHER else RUNS_TOGETHER * multiple
    length = math.ceil(num_llms / num_runs)
    place = torch.arange(length * num_runs, device=device).view(num_runs, length).T.flatten()
    return _Deck(place=place.clamp(max=num_llms - 1), is_blank=place >= num_llms, length=length)


def _close(total: ErrorMatrix, available: Bool[Tensor, "prompt all_llms"], llm: LLMSubset) -> None:
    """Put the sums of LLMs that may not be chosen out of reach."""
    closed = ~available.gather(1, llm.expand(len(available), -1))
    # several times as fast as masked_fill_
    total.add_(closed.view(torch.uint8).to(total.dtype), alpha=torch.finfo(total.dtype).max)


def _first_of_least(total: ErrorMatrix) -> LLMIndex:
    """Place in order of cost of the first least sum of each prompt, as one writes it down."""
    least = total.amin(1, keepdim=True)
    check_estimates(least)
    return (total <= least + tie_tolerance(total.dtype)).view(torch.uint8).argmax(1)


def _first_least(total: Float[Tensor, "prompt length run"]) -> LLMIndex:
    """Place in order of cost of the first least sum of each prompt."""
    least_of_run = total.amin(1)
    least = least_of_run.amin(1, keepdim=True)
    check_estimates(least)
    limit = least + tie_tolerance(total.dtype)
    # several times as fast as argmin
    run = (least_of_run <= limit).to(torch.uint8).argmax(1)
    within = total[torch.arange(len(total), device=total.device), :, run] <= limit
    return run * total.shape[1] + within.to(torch.uint8).argmax(1)
