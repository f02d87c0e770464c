"""What a quality costs, what a budget gives, and the area over the logarithm of the cost."""

import math

import numpy as np
import pytest
import torch
from enumerated_curve import random_instance

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.deferral import DeferralCurve, deferral_curve
from unirouter_torch.metrics.saving import area_over_log_cost, cost_of_quality, quality_within_budget

CURVE = DeferralCurve(
    cost_weight=torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64),
    cost=torch.tensor([8.0, 6.0, 4.0, 2.0], dtype=torch.float64),
    quality=torch.tensor([0.7, 0.9, 0.8, 0.4], dtype=torch.float64),
)
COST = torch.tensor([2.0, 10.0, 5.0])
STEP = CurveConvention(interpolation="step")
RANGE = CurveConvention(cost_axis="range")


def test_cost_of_a_quality_by_hand():
    assert cost_of_quality(CURVE, COST, 0.85, 5.0) == pytest.approx(1.0)
    assert cost_of_quality(CURVE, COST, 0.85, 5.0, STEP) == pytest.approx(6 / 5)
    assert cost_of_quality(CURVE, COST, 0.6, 10.0) == pytest.approx(0.3)
    assert cost_of_quality(CURVE, COST, 0.1, 10.0) == pytest.approx(0.2), "no router costs less than its cheapest point"
    assert cost_of_quality(CURVE, COST, 0.91, 10.0) is None


def test_shares_of_a_cost_do_not_depend_on_the_axis():
    assert cost_of_quality(CURVE, COST, 0.85, 5.0, RANGE) == cost_of_quality(CURVE, COST, 0.85, 5.0)
    assert quality_within_budget(CURVE, COST, 0.5, RANGE) == quality_within_budget(CURVE, COST, 0.5)
    assert area_over_log_cost(CURVE, COST, RANGE) == area_over_log_cost(CURVE, COST)


def test_beside_a_free_llm_only_what_is_free_is_reached():
    assert cost_of_quality(CURVE, COST, 0.1, 0.0) is None
    free = DeferralCurve(*(torch.tensor([value], dtype=torch.float64) for value in (0.0, 0.0, 0.5)))
    assert cost_of_quality(free, COST, 0.5, 0.0) == 0.0


def test_quality_within_a_budget_by_hand():
    assert quality_within_budget(CURVE, COST, 0.5) == pytest.approx(0.85)
    assert quality_within_budget(CURVE, COST, 0.5, STEP) == pytest.approx(0.8)
    assert quality_within_budget(CURVE, COST, 0.2) == pytest.approx(0.4)
    assert quality_within_budget(CURVE, COST, 1.0) == pytest.approx(0.7), "money need not be spent"
    assert quality_within_budget(CURVE, COST, 0.19) is None


@pytest.mark.parametrize("interpolation", ["linear", "step"])
@pytest.mark.parametrize("left", ["hold", "zero"])
@pytest.mark.parametrize("seed", range(3))
def test_area_is_the_mean_quality_over_budgets_even_in_their_logarithm(interpolation, left, seed):
    convention = CurveConvention(interpolation=interpolation, left=left)
    estimated, cost, error, available = random_instance(seed)
    curve = deferral_curve(estimated, cost, error, available)
    budgets = np.exp(np.linspace(math.log(cost.min()), math.log(cost.max()), 40_001))
    at, quality = curve.cost.flip(0).numpy(), curve.quality.flip(0).numpy()
    point = np.searchsorted(at, budgets, side="right") - 1
    read = np.interp(budgets, at, quality) if interpolation == "linear" else quality[point.clip(0)]
    read[point < 0] = quality[0] if left == "hold" else 0.0
    assert area_over_log_cost(curve, cost, convention) == pytest.approx(read.mean(), abs=2e-4)


def test_scaling_all_costs_leaves_every_figure():
    estimated, cost, error, available = random_instance(3)
    found = []
    for factor in (1.0, 0.0037, 913.0):
        curve, scaled = deferral_curve(estimated, factor * cost, error, available), factor * cost
        reference = float(scaled[0])
        found.append(
            (
                cost_of_quality(curve, scaled, 0.6, reference),
                quality_within_budget(curve, scaled, 0.5),
                area_over_log_cost(curve, scaled),
            )
        )
    assert None not in found[0]
    assert found[1] == pytest.approx(found[0], abs=1e-12)
    assert found[2] == pytest.approx(found[0], abs=1e-12)


def test_free_llms_do_not_stretch_the_logarithm():
    curve = DeferralCurve(*(torch.tensor(v, dtype=torch.float64) for v in ([0.0, 1.0], [4.0, 0.0], [0.9, 0.1])))
    step = area_over_log_cost(curve, torch.tensor([0.0, 1.0, 4.0]), STEP)
    assert step == pytest.approx(0.1), "the free point holds until the most expensive one"
    # linear: 0.1 + 0.2 c, mean over the logarithm of c from 1 to 4
    linear = area_over_log_cost(curve, torch.tensor([0.0, 1.0, 4.0]))
    assert linear == pytest.approx(0.1 + 0.2 * 3 / math.log(4))


@pytest.mark.parametrize("cost", [0.7, 0.0])
def test_pool_of_one_cost_has_the_quality_that_it_has(cost):
    error = torch.tensor([[0.0], [1.0], [0.25]])
    curve = deferral_curve(error, torch.tensor([cost]), error)
    assert area_over_log_cost(curve, torch.tensor([cost])) == pytest.approx(7 / 12)
