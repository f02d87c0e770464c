"""Outcomes that arrive while a router is in use: sums that go on, while older outcomes fade."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.shapes import ClusterProbability


def add_outcomes(
    sums: ClusterSums,
    cluster_probability: ClusterProbability,
    error: Float[Tensor, " prompt"],
    half_life: float = math.inf,
) -> ClusterSums:
    """Sums of one LLM after further outcomes, one at a time or many at once.

    ``sums_k <- r * sums_k + p_k(x) e(x)`` for each prompt ``x``, with ``r = 2 ** (-1 / half_life)``; likewise the
    weights. Without forgetting (``r = 1``) the order does not matter, so that the outcomes of several replicas may be
    added in any order. With it, each outcome counts by how many were added after it.

    Args:
        sums: Those before, one row: of the calibration prompts, and of outcomes that were added earlier.
        cluster_probability: Of the prompts, in the order in which the LLM answered them.
        error: Of the answers, in [0, 1].
        half_life: After how many further outcomes one counts half [prompts], positive; infinite to forget nothing.
            Calibration outcomes fade as well.

    Raises:
        PoolError: ``half_life`` is not positive.
    """
    if not half_life > 0:
        raise PoolError(f"half_life: got {half_life}, expected a positive number of prompts.")
    kept = 2.0 ** (-1.0 / half_life)
    age = torch.arange(len(error) - 1, -1, -1, dtype=torch.float64)
    weight = (kept**age).to(error.dtype)
    fading = kept ** len(error)
    return ClusterSums(
        error=fading * sums.error + (weight * error) @ cluster_probability,
        weight=fading * sums.weight + weight @ cluster_probability,
    )
