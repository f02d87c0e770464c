"""The routing rule: the smallest estimated error plus weighted cost."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.errors import PoolError
from unirouter_torch.shapes import CostVector, ErrorMatrix, LLMIndex, LLMSubset, ObservedMatrix


def choose_llm(
    estimated_error: ErrorMatrix,
    cost: CostVector,
    cost_weight: float,
    available: ObservedMatrix | None = None,
) -> LLMIndex:
    """Pick the LLM with the smallest ``estimated_error + cost_weight * cost`` for every prompt.

    Args:
        estimated_error: Estimated error of each LLM on each prompt, in [0, 1].
        cost: Cost of one prompt relative to a reference cost [1].
        cost_weight: Error accepted to save one reference cost [1]; 0 ignores cost.
        available: Which LLMs may be chosen for which prompt; all by default.

    Returns:
        Column of the chosen LLM. Equal scores go to the cheaper LLM, then to the lower column.

    Raises:
        PoolError: ``cost_weight`` is negative or not finite, a cost is not finite, or a prompt has no available LLM.

    Source: UniRoute (arXiv:2502.08773), plug-in routing rule.
    """
    if not (math.isfinite(cost_weight) and cost_weight >= 0):
        raise PoolError(f"cost_weight: expected a finite number of at least 0, got {cost_weight}.")
    if not torch.isfinite(cost).all():
        raise PoolError("cost: expected finite numbers, got NaN or infinity. Give every LLM of the pool a cost.")
    if available is not None:
        if not available.any(-1).all():
            raise PoolError("available: a prompt has no LLM to choose from. Leave it out, or make an LLM available.")
        estimated_error = estimated_error.masked_fill(~available, math.inf)
    return smallest_total(estimated_error, cost, cost_weight, order_by_cost(cost))


def order_by_cost(cost: CostVector) -> LLMSubset:
    """Columns of the LLMs from cheap to dear, equal costs by column."""
    return torch.argsort(cost, stable=True)


def smallest_total(
    estimated_error: ErrorMatrix, cost: CostVector, cost_weight: float | Float[Tensor, ""], by_cost: LLMSubset
) -> LLMIndex:
    """The rule of :func:`choose_llm` alone, without its checks, as a graph can hold it that another program runs.

    Args:
        estimated_error: As there.
        cost: As there.
        cost_weight: As there, or one number as a tensor.
        by_cost: What :func:`order_by_cost` gives.
    """
    total = estimated_error + cost_weight * cost.to(estimated_error.dtype)
    # argmin returns the first of equal values, so columns in order of cost send ties to the cheaper LLM
    return by_cost[total[:, by_cost].argmin(-1)]
