"""What a person asks of a deferral curve: the cost of a quality, the quality for a budget, in shares of one LLM's."""

import math
from dataclasses import replace

import torch

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.deferral import DEFAULT_CONVENTION, DeferralCurve, quality_neutral_cost, read_quality
from unirouter_torch.shapes import CostVector


def cost_of_quality(
    curve: DeferralCurve,
    cost: CostVector,
    quality: float,
    reference_cost: float,
    convention: CurveConvention = DEFAULT_CONVENTION,
) -> float | None:
    """Least cost at which a router reaches a quality, as a share of another cost; lower is better.

    Args:
        curve: Deferral curve of a router.
        cost: Cost of each LLM of the pool.
        quality: Quality to reach, in [0, 1]; a shortfall of 1e-12 counts as reached.
        reference_cost: What the cost is a share of, commonly the cost of the best single LLM, at least 0 [unit of
            ``cost``].
        convention: Its ``interpolation`` decides; shares are of costs from 0, whatever the axis.

    Returns:
        The share; more than 1 where the router costs more. None when the curve never reaches the quality, or reaches it
        at a cost above a reference that is free.
    """
    of_most_expensive = quality_neutral_cost(curve, cost, quality, replace(convention, cost_axis="dearest"))
    if of_most_expensive is None:
        return None
    found = of_most_expensive * float(cost.double().max())
    if reference_cost > 0:
        return found / reference_cost
    return 0.0 if found == 0 else None


def quality_within_budget(
    curve: DeferralCurve, cost: CostVector, share: float, convention: CurveConvention = DEFAULT_CONVENTION
) -> float | None:
    """Quality of a router that spends a share of the cost of the most expensive LLM; higher is better.

    Args:
        curve: Deferral curve of a router.
        cost: Cost of each LLM of the pool.
        share: Mean cost of a prompt over that of the most expensive LLM, in [0, 1].
        convention: Its ``interpolation`` decides; shares are of costs from 0, whatever the axis.

    Returns:
        The quality; right of the most expensive point of the curve that point's. None where even the cheapest point
        costs more.
    """
    budget = share * cost.double().max()
    found = read_quality(curve.cost.flip(0), curve.quality.flip(0), budget[None], convention.interpolation)
    return None if bool(found.is_left_of_all[0]) else float(found.quality[0])


def area_over_log_cost(
    curve: DeferralCurve, cost: CostVector, convention: CurveConvention = DEFAULT_CONVENTION
) -> float:
    """Mean quality over budgets that are spread evenly over the logarithm of the cost; higher is better.

    ``1 / ln(b / a) * integral of q(c) / c dc`` from ``a``, the cost of the cheapest LLM that is not free, to ``b``,
    that of the most expensive. Half of the linear area lies where half of the largest cost is spent; here every
    doubling of the cost counts alike.

    Args:
        curve: Deferral curve of a router.
        cost: Cost of each LLM of the pool.
        convention: ``interpolation`` and ``left``, as for the linear area; the axis is that of costs from 0.

    Returns:
        The area in [0, 1]; the quality of the most expensive point where all LLMs that are not free cost the same.
    """
    cost = cost.double()
    low, high = float(cost[cost > 0].min()) if (cost > 0).any() else 0.0, float(cost.max())
    at, quality = curve.cost.flip(0), curve.quality.flip(0)
    if low == high:
        return float(quality[-1])
    start, end = at.clamp(low, high), torch.cat([at[1:], at.new_tensor([math.inf])]).clamp(low, high)
    slope = torch.zeros_like(quality)
    if convention.interpolation == "linear":
        length = at.diff()
        slope[:-1] = torch.where(length > 0, quality.diff() / length, 0.0)
    # quality + slope * (c - at), integrated over the logarithm of c
    area = ((quality - slope * at) * (end / start).log() + slope * (end - start)).sum()
    if convention.left == "hold":
        area = area + quality[0] * (start[0] / low).log()
    return float(area) / math.log(high / low)
