"""The deferral curve against brute force: every crossing of every pair of LLMs, and dense grids of cost weights."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from enumerated_curve import enumerate_points, mixed_instances, random_instance, tied_instances
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.metrics import deferral
from unirouter_torch.metrics.deferral import DeferralCurve, area_under_deferral_curve, deferral_curve
from unirouter_torch.routing.decision import choose_llm


def at_weight(curve: DeferralCurve, weight: float) -> tuple[float, float]:
    point = int(torch.searchsorted(curve.cost_weight, weight, right=True)) - 1
    return float(curve.cost[point]), float(curve.quality[point])


def route(estimated, cost, error, available, weight: float) -> tuple[float, float]:
    """Mean cost and quality of the routing rule, over prompts with an LLM to choose."""
    usable = available.any(-1)
    estimated, error, available = estimated[usable].double(), error[usable].double(), available[usable]
    choice = choose_llm(estimated, cost.double(), weight, available)
    return float(cost.double()[choice].mean()), 1 - float(error.gather(1, choice[:, None]).mean())


def between(points) -> list[float]:
    """A cost weight in each gap that is wide enough to tell its ends apart, one at 0 and one beyond the last."""
    weights = [float(point.cost_weight) for point in points]
    gaps = [(a + b) / 2 for a, b in pairwise(weights) if b - a > 1e-9 * b]
    return [*gaps, 2 * weights[-1] + 1]


@given(tied_instances())
def test_curve_equals_an_enumeration_of_all_breakpoints(instance) -> None:
    curve = deferral_curve(*instance)
    points = enumerate_points(*instance)
    for weight, cost, quality in points:
        assert at_weight(curve, float(weight)) == pytest.approx((float(cost), float(quality)), abs=1e-9)
    # and it turns nowhere else: as many points as there are different mean costs
    assert len(curve.cost_weight) == len({point.cost for point in points})


@given(mixed_instances())
def test_curve_turns_where_an_enumeration_on_generic_numbers_turns(instance) -> None:
    curve = deferral_curve(*instance)
    points = enumerate_points(*instance)
    turns = [points[0], *(after for before, after in pairwise(points) if after.cost != before.cost)]
    assert len(turns) == len(curve.cost_weight)
    for found, expected in zip(curve, zip(*turns, strict=True), strict=True):
        assert found.tolist() == pytest.approx([float(value) for value in expected], rel=1e-9, abs=1e-9)


@given(st.one_of(mixed_instances(), tied_instances()))
def test_curve_is_what_the_routing_rule_gives_between_all_breakpoints(instance) -> None:
    curve = deferral_curve(*instance)
    for weight in [0.0, *between(enumerate_points(*instance))]:
        assert at_weight(curve, weight) == pytest.approx(route(*instance, weight), rel=1e-9)


@given(st.one_of(mixed_instances(), tied_instances()))
def test_mean_cost_never_rises_with_the_cost_weight(instance) -> None:
    curve = deferral_curve(*instance)
    assert curve.cost_weight[0] == 0
    assert (curve.cost_weight.diff() > 0).all()
    assert (curve.cost.diff() < 0).all()


@given(st.one_of(mixed_instances(), tied_instances()))
def test_dominated_llms_change_nothing(instance) -> None:
    estimated, cost, error, available = instance
    worse = [(0.0, 0.25), (0.5, 0.0), (0.5, 0.25), (0.0, 0.0)]  # of equal cost, of equal estimate, neither, both
    extended = deferral_curve(
        torch.cat([estimated, *(estimated + rise for _, rise in worse)], 1),
        torch.cat([cost, *(cost + dearer for dearer, _ in worse)]),
        torch.cat([error, *(1 - error for _ in worse)], 1),
        available.repeat(1, 1 + len(worse)),
    )
    for got, expected in zip(extended, deferral_curve(*instance), strict=True):
        assert torch.equal(got, expected)


@given(mixed_instances())
def test_tracing_prompts_one_by_one_changes_nothing(instance) -> None:
    whole = deferral_curve(*instance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deferral, "PROMPTS_AT_ONCE", 1)
        alone = deferral_curve(*instance)
    for got, expected in zip(alone, whole, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def curve_on_a_grid(instance, num_weights: int) -> DeferralCurve:
    """The routing rule at cost weights ``share / (1 - share)``, with the share evenly spaced in [0, 1)."""
    shares = np.arange(num_weights) / num_weights
    points = [(weight, *route(*instance, weight)) for weight in (shares / (1 - shares)).tolist()]
    return DeferralCurve(*torch.tensor(points, dtype=torch.float64).T)


@pytest.mark.parametrize("seed", range(3))
def test_area_on_a_dense_grid_converges_to_the_exact_one(seed: int) -> None:
    instance = random_instance(seed)
    cost = instance[1]
    exact = area_under_deferral_curve(deferral_curve(*instance), cost)
    distances = [
        abs(area_under_deferral_curve(curve_on_a_grid(instance, num_weights), cost) - exact)
        for num_weights in (10, 100, 1000, 10_000)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 2e-3 > 5e-5 > distances[-1]


@given(mixed_instances())
def test_area_on_a_grid_with_a_weight_between_all_breakpoints_is_the_exact_one(instance) -> None:
    weights = [0.0, *between(enumerate_points(*instance))]
    grid = DeferralCurve(*torch.tensor([(w, *route(*instance, w)) for w in weights], dtype=torch.float64).T)
    areas = [area_under_deferral_curve(curve, instance[1]) for curve in (grid, deferral_curve(*instance))]
    assert areas[0] == pytest.approx(areas[1], abs=1e-9)
