"""From a pool to choices: what its LLMs cost and get wrong, as the rule of choice takes it."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.config.router import DEFAULT_COST_WEIGHT
from unirouter_torch.errors import PoolError
from unirouter_torch.router.calibration import CalibrationPrompts
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error
from unirouter_torch.routing.decision import CostByLength, check_costs, choose_llms
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.target import Target, Tuned, check_latency_weight, tune_cost_weight
from unirouter_torch.routing.token_cost import PromptCost, count_tokens
from unirouter_torch.shapes import ClusterError, ClusterProbability, LLMIndex

_LLMS_AT_ONCE = 256


def cluster_errors(head: ClusterHead, pool: LLMPool, caution: float | None = None) -> ClusterError:
    """Cluster errors of the LLMs of a pool, on the device of the head.

    Args:
        head: Whose clusters they are.
        pool: The LLMs.
        caution: Probability in [0.5, 1) that a cluster error is below what is returned, which is never below the
            estimate; the estimate itself when not given.

    Raises:
        PoolError: ``caution`` is out of range.
    """
    sums = ClusterSums(*(part.to(head.log_shrinkage.device) for part in pool.sums))
    error = head.cluster_error(sums)
    if caution is None:
        return error
    if not 0.5 <= caution < 1:
        raise PoolError(f"caution: got {caution}, expected a probability in [0.5, 1), such as 0.9.")
    parts = zip(*(torch.split(part, _LLMS_AT_ONCE) for part in sums), strict=True)
    bound = torch.cat([head.cluster_error_quantile(ClusterSums(*part), caution) for part in parts])
    return torch.maximum(error, bound)  # of a very skewed belief the mean lies above the bound


def count_latency(pool: LLMPool, latency_weight: float | None = None) -> LLMPool:
    """A pool with the latency of its LLMs in their costs, so that a choice counts both: to choose by, not to save.

    Args:
        pool: The LLMs with their costs and latencies. What comes back has them no more, nor does its target count them.
        latency_weight: What a second costs [cost unit / second], at least 0; that of the pool's target when not given,
            else 0.

    Raises:
        PoolError: The latency weight is negative or not finite, or the latency of an LLM that may be chosen is unknown.
    """
    latency_weight = pool.latency_weight if latency_weight is None else latency_weight
    check_latency_weight(latency_weight)
    target = pool.target and replace(pool.target, latency_weight=0.0)
    if latency_weight == 0:
        return pool if target == pool.target else replace(pool, target=target)
    unknown = [name for name in pool.names if name not in pool.disabled and name not in pool.latency]
    if unknown:
        raise PoolError(
            f"latency of {unknown[0]!r}: not known, but a latency weight of {latency_weight:g} counts it. Give it by "
            "`unirouter pool reprice --latency`, or `add --latency` where it is new, disable the LLM, or choose "
            "without a latency weight."
        )
    cost, token_costs = pool.cost.clone(), dict(pool.token_costs)
    for name, its in pool.latency.items():
        cost[pool.find(name)] += latency_weight * its.seconds
        if name in token_costs:
            of_token = token_costs[name].price_out + latency_weight * its.seconds_per_token
            token_costs[name] = replace(token_costs[name], price_out=of_token)
    return replace(pool, cost=cost, token_costs=token_costs, latency={}, target=target)


def among(pool: LLMPool, llms: Sequence[str]) -> LLMPool:
    """A pool of which the named LLMs alone may be chosen, as far as they are not disabled: to choose by, not to save.

    Raises:
        PoolError: A name is unknown, or none of the LLMs may be chosen.
    """
    for name in llms:
        pool.find(name)
    disabled = pool.disabled.union(name for name in pool.names if name not in llms)
    if len(disabled) == len(pool.names):
        raise PoolError(f"llms: none of {', '.join(llms) or 'no names'} may be chosen. Name one that is not disabled.")
    return replace(pool, disabled=disabled)


def cost_of_prompts(head: ClusterHead, calibration: CalibrationPrompts, pool: LLMPool) -> PromptCost:
    """What prompts cost with each LLM of a pool, in its cost unit; typical prompts are the calibration prompts."""
    share = calibration.cluster_probability.mean(0)
    typical_tokens = float(count_tokens(calibration.texts).mean())
    return pool.prompt_cost(share, typical_tokens, float(head.shrinkage.detach()))


def choose_available(
    features: ClusterError,
    prompt_cost: PromptCost,
    pool: LLMPool,
    cluster_probability: ClusterProbability,
    tokens: Float[Tensor, " prompt"],
    cost_weight: float,
) -> LLMIndex:
    """Position in the pool of the LLM for each prompt, among those that are available.

    Args:
        features: Cluster errors of the pool.
        prompt_cost: What prompts cost with its LLMs, in its cost unit.
        pool: The LLMs.
        cluster_probability: Of the prompts.
        tokens: Their lengths [tokens].
        cost_weight: Error accepted to save one reference cost [1].
    """
    rows = pool.available.nonzero().squeeze(-1)
    cost = prompt_cost.scaled(1 / pool.reference_cost).of_llms(rows)
    # probabilities sum to one, so a cost that depends on the cluster is one more part of the cluster error
    features = features[rows] + (cost_weight * cost.by_cluster).to(features)
    by_length = CostByLength(tokens - cost.typical_tokens, cost.by_token) if cost.by_token.any() else None
    chosen = choose_llms(cluster_probability, features, cost.typical, cost_weight, by_length=by_length)
    return rows.to(chosen.device)[chosen]


@torch.no_grad()
def tune_on_calibration(head: ClusterHead, calibration: CalibrationPrompts, pool: LLMPool, target: Target) -> Tuned:
    """The cost weight that meets a target on the calibration prompts, by estimated errors and expected costs.

    Raises:
        PoolError: The pool is empty, or the target is out of reach.
    """
    check_costs(pool.cost)
    rows, probability = pool.available.nonzero().squeeze(-1), calibration.cluster_probability
    estimated = estimate_error(probability, cluster_errors(head, pool).cpu())
    cost = cost_of_prompts(head, calibration, pool).of_prompts(probability, count_tokens(calibration.texts))
    return tune_cost_weight(estimated[:, rows], cost[:, rows], pool.reference_cost, target)


def default_cost_weight(head: ClusterHead, calibration: CalibrationPrompts, pool: LLMPool) -> float:
    """The cost weight of a pool's target for the pool as it is; 0.1 for a pool without a target."""
    if pool.target is None:
        return DEFAULT_COST_WEIGHT
    return tune_on_calibration(head, calibration, pool, pool.target).cost_weight
