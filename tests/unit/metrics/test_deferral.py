"""The deferral curve by laws and by hand, and the figures read off it; see tests/numerics for brute force."""

import numpy as np
import pytest
import torch
from enumerated_curve import random_instance
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.errors import DataError, PoolError
from unirouter_torch.metrics.deferral import (
    DeferralCurve,
    area_under_deferral_curve,
    deferral_curve,
    peak_accuracy,
    quality_neutral_cost,
    quality_of_competing,
    relative_cost,
    single_llm_quality,
)

CONVENTIONS = [
    CurveConvention(cost_axis=axis, interpolation=interpolation, left=left)
    for axis in ("dearest", "range")
    for interpolation in ("linear", "step")
    for left in ("hold", "zero")
]


def test_no_drift_over_many_prompts():
    estimated, cost, error, available = random_instance(2, num_prompts=20_000, num_llms=12)
    usable = available.any(-1)
    curve = deferral_curve(estimated, cost, error, available)
    last = torch.where(available, cost, torch.inf).argmin(-1)[usable]
    assert float(curve.cost[-1]) == pytest.approx(float(cost[last].mean()), abs=1e-12)
    assert float(curve.quality[-1]) == pytest.approx(
        1 - float(error[usable].gather(1, last.unsqueeze(-1)).mean()), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_no_point_of_any_router_lies_above_the_oracle(seed):
    estimated, cost, error, available = random_instance(seed)
    router, oracle = (deferral_curve(guess, cost, error, available) for guess in (estimated, error))
    bound = np.interp(router.cost.numpy(), oracle.cost.flip(0).numpy(), oracle.quality.flip(0).numpy())
    assert (router.quality.numpy() <= bound + 1e-12).all()
    for up_to in (0.1, 0.5, 1.0):
        areas = [area_under_deferral_curve(curve, cost, up_to=up_to) for curve in (router, oracle)]
        assert areas[0] <= areas[1]


@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
def test_scaling_all_costs_leaves_area_and_quality_neutral_cost(convention):
    estimated, cost, error, available = random_instance(3)
    figures = []
    for factor in (1.0, 0.0037, 913.0):
        scaled = factor * cost
        curve = deferral_curve(estimated, scaled, error, available)
        area = area_under_deferral_curve(curve, scaled, convention)
        figures.append((area, quality_neutral_cost(curve, scaled, 0.6, convention)))
    assert figures[0][1] is not None
    assert figures[1] == pytest.approx(figures[0], abs=1e-12)
    assert figures[2] == pytest.approx(figures[0], abs=1e-12)


def test_scaling_costs_does_not_split_ties():
    estimated = torch.tensor([[0.1, 0.3, 0.5], [0.2, 0.4, 0.6]], dtype=torch.float64)
    cost = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    for factor in (1.0, 0.1, 0.7):
        assert len(deferral_curve(estimated, factor * cost, estimated).cost) == 2


@given(st.randoms(use_true_random=False))
def test_order_of_llms_and_prompts_does_not_matter(random):
    estimated, cost, error, available = random_instance(4)
    llms = torch.tensor(random.sample(range(7), 7))
    prompts = torch.tensor(random.sample(range(40), 40))
    permuted = [matrix[prompts][:, llms] for matrix in (estimated, error, available)]
    expected = deferral_curve(estimated, cost, error, available)
    for a, b in zip(deferral_curve(permuted[0], cost[llms], permuted[1], permuted[2]), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_dominated_llm_changes_nothing():
    estimated, cost, error, _ = random_instance(5)
    dominated = (estimated.max(-1, keepdim=True).values + 0.01, cost.max() + 1.0, torch.zeros(40, 1).double())
    curve = deferral_curve(
        torch.cat([estimated, dominated[0]], 1),
        torch.cat([cost, dominated[1][None]]),
        torch.cat([error, dominated[2]], 1),
    )
    for got, expected in zip(curve, deferral_curve(estimated, cost, error), strict=True):
        assert torch.equal(got, expected)


def test_llm_of_equal_cost_and_higher_estimate_is_never_chosen():
    estimated = torch.tensor([[0.5, 0.4, 0.0]])
    error = torch.tensor([[1.0, 0.0, 0.25]])
    curve = deferral_curve(estimated, torch.tensor([1.0, 1.0, 3.0]), error)
    assert curve.cost.tolist() == [3.0, 1.0]
    assert curve.quality.tolist() == [0.75, 1.0]
    assert curve.cost_weight.tolist() == pytest.approx([0.0, 0.2])


def test_full_tie_goes_to_the_lower_column():
    curve = deferral_curve(torch.tensor([[0.5, 0.5]]), torch.tensor([1.0, 1.0]), torch.tensor([[0.25, 1.0]]))
    assert curve.quality.tolist() == [0.75]


def test_constant_estimates_give_the_hull_of_the_single_llms():
    # by hand: d is dearer and worse than c, b lies under the chord from a to c
    cost = torch.tensor([1.0, 2.0, 3.0, 4.0, 0.5])
    mean_error = torch.tensor([0.5, 0.4, 0.2, 0.3, 0.75])
    error = mean_error.expand(8, 5)
    curve = deferral_curve(error, cost, error)
    assert curve.cost.tolist() == [3.0, 1.0, 0.5]
    assert curve.quality.tolist() == pytest.approx([0.8, 0.5, 0.25])
    assert curve.cost_weight.tolist() == pytest.approx([0.0, 0.15, 0.5])


@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
def test_pool_of_one(convention):
    error = torch.tensor([[0.0], [1.0], [0.25]])
    cost = torch.tensor([0.7])
    curve = deferral_curve(error, cost, error)
    quality = quality_of_competing(error, torch.ones(3, 1, dtype=torch.bool)).max().item()
    on_dearest = convention.cost_axis == "dearest"
    assert quality_neutral_cost(curve, cost, quality, convention) == pytest.approx(1.0 if on_dearest else 0.0)
    area = area_under_deferral_curve(curve, cost, convention)
    assert area == pytest.approx(0.0 if on_dearest and convention.left == "zero" else 7 / 12, abs=1e-7)


def test_free_llms_have_relative_cost_zero():
    error = torch.tensor([[0.5, 0.0]])
    curve = deferral_curve(error, torch.zeros(2), error)
    assert quality_neutral_cost(curve, torch.zeros(2), 1.0) == 0.0
    assert area_under_deferral_curve(curve, torch.zeros(2)) == 1.0


CURVE = DeferralCurve(
    cost_weight=torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64),
    cost=torch.tensor([8.0, 6.0, 4.0, 2.0], dtype=torch.float64),
    quality=torch.tensor([0.7, 0.9, 0.8, 0.4], dtype=torch.float64),
)
POOL_COST = torch.tensor([2.0, 10.0, 5.0])


@pytest.mark.parametrize("up_to", [0.1, 0.37, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
def test_area_equals_a_riemann_sum(convention, up_to):
    at = relative_cost(CURVE.cost, POOL_COST, convention).flip(0).numpy()
    quality = CURVE.quality.flip(0).numpy()
    budgets = (np.arange(200_000) + 0.5) / 200_000 * up_to
    left = quality[0] if convention.left == "hold" else 0.0
    if convention.interpolation == "linear":
        heights = np.interp(budgets, at, quality, left=left)
    else:
        dearest_affordable = np.searchsorted(at, budgets, side="right") - 1
        heights = np.where(dearest_affordable < 0, left, quality[dearest_affordable])
    area = area_under_deferral_curve(CURVE, POOL_COST, convention, up_to)
    assert area == pytest.approx(heights.mean() * up_to, abs=1e-5)


def test_quality_neutral_cost_by_hand():
    step, on_range = CurveConvention(interpolation="step"), CurveConvention(cost_axis="range")
    assert quality_neutral_cost(CURVE, POOL_COST, 0.5) == pytest.approx(0.25)
    assert quality_neutral_cost(CURVE, POOL_COST, 0.5, step) == pytest.approx(0.4)
    assert quality_neutral_cost(CURVE, POOL_COST, 0.5, on_range) == pytest.approx(0.5 / 8)
    assert quality_neutral_cost(CURVE, POOL_COST, 0.3) == pytest.approx(0.2)
    assert quality_neutral_cost(CURVE, POOL_COST, 0.9) == pytest.approx(0.6)
    assert quality_neutral_cost(CURVE, POOL_COST, 0.9 + 1e-13) == pytest.approx(0.6)
    assert quality_neutral_cost(CURVE, POOL_COST, 0.91) is None


def test_peak_accuracy_is_the_highest_point():
    assert peak_accuracy(CURVE) == 0.9


def test_single_llm_quality_counts_observed_prompts_alone():
    error = torch.tensor([[0.0, 1.0, torch.nan], [1.0, torch.nan, torch.nan], [0.5, 0.5, torch.nan]])
    quality = single_llm_quality(error, ~error.isnan())
    assert quality[:2].tolist() == [0.5, 0.25]
    assert quality[2].isnan()


def test_best_single_llm_must_have_met_almost_every_prompt():
    error = torch.full((10, 3), 0.5)
    error[:, 1] = 0.4
    error[:, 2] = 0.0
    observed = torch.ones(11, 3, dtype=torch.bool)
    observed[10] = False  # without any outcome: not counted as missed
    error = torch.cat([error, torch.full((1, 3), torch.nan)])
    observed[9, 1] = False
    observed[8:, 2] = False
    assert quality_of_competing(error, observed).max().item() == pytest.approx(0.6)
    assert quality_of_competing(error, observed, min_coverage=0.8).max().item() == pytest.approx(1.0)
    observed[:6, 0] = observed[:3, 1] = False
    assert quality_of_competing(error, observed).max().item() == pytest.approx(1.0)  # the third, 8 of 10


def test_prompts_without_any_llm_are_left_out():
    estimated, cost, error, available = random_instance(6)
    available[7] = False
    error[~available] = torch.nan
    estimated[~available] = torch.nan
    kept = available.any(-1)
    expected = deferral_curve(estimated[kept], cost, error[kept], available[kept])
    for a, b in zip(deferral_curve(estimated, cost, error, available), expected, strict=True):
        assert torch.equal(a, b)


def test_refuses_what_cannot_be_routed():
    matrix, cost = torch.tensor([[0.5, 0.25]]), torch.tensor([1.0, 2.0])
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    with pytest.raises(DataError, match="no prompt has an LLM"):
        deferral_curve(matrix, cost, matrix, nothing)
    with pytest.raises(DataError, match="no outcome"):
        quality_of_competing(matrix, nothing).max().item()
    with pytest.raises(DataError, match="estimated_error: row 0, column 1"):
        deferral_curve(torch.tensor([[0.5, torch.nan]]), cost, matrix)
    with pytest.raises(DataError, match=r"^error: row 0, column 0"):
        deferral_curve(matrix, cost, torch.tensor([[torch.inf, 0.0]]))
    for bad in (-1.0, torch.nan, torch.inf):
        with pytest.raises(PoolError, match="cost"):
            deferral_curve(matrix, torch.tensor([1.0, bad]), matrix)
