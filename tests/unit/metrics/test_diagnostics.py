import json
import math
from dataclasses import asdict
from itertools import pairwise

import pytest
import torch

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.deferral import (
    DEFAULT_CONVENTION,
    DeferralCurve,
    area_under_deferral_curve,
    deferral_curve,
    relative_cost,
)
from unirouter_torch.metrics.diagnostics import (
    GRID,
    measure_reliability,
    sample_curve,
    score_sources,
    shares_along,
)
from unirouter_torch.metrics.judged import Judged, Truth
from unirouter_torch.routing.decision import choose_llm
from unirouter_torch.routing.outcomes import Outcomes

CONVENTIONS = [
    CurveConvention(cost_axis=axis, interpolation=interpolation, left=left)
    for axis in ("dearest", "range")
    for interpolation in ("linear", "step")
    for left in ("hold", "zero")
]
SOURCES = ["alder", "birch", "cedar"]


def made(seed=0, num_prompts=90, num_llms=6, density=0.8):
    """Estimates, outcomes, sources and costs; prompts of each source are hard for other LLMs."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(0, len(SOURCES), (num_prompts,), generator=generator)
    difficulty = torch.rand(len(SOURCES), num_llms, generator=generator)[source]
    error = (torch.rand(num_prompts, num_llms, generator=generator) < difficulty).float()
    estimated = 0.5 * difficulty + 0.5 * torch.rand(num_prompts, num_llms, generator=generator)
    observed = torch.rand(num_prompts, num_llms, generator=generator) < density
    observed[:3] = False
    cost = torch.rand(num_llms, generator=generator).mul(3).exp()
    return estimated, Outcomes(torch.zeros(num_prompts, 2), error, observed), source, cost


def diagnosed(seed=0, convention=DEFAULT_CONVENTION, **changes):
    estimated, test, source, cost = made(seed)
    return diagnose(estimated, test, source, cost, convention, **changes)


def diagnose(estimated, test, source, cost, convention=DEFAULT_CONVENTION, **changes):
    truth = Truth(
        cost=cost,
        error=test.error,
        observed=test.observed,
        convention=convention,
        source=source,
        source_names=tuple(SOURCES),
    )
    return Judged(estimated, truth).diagnose(**changes)


# curve


@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
def test_sampled_quality_is_that_of_a_loop_over_the_points(convention):
    estimated, test, _, cost = made()
    curve = deferral_curve(estimated, cost, test.error, test.observed)
    sampled = sample_curve(curve, cost, convention)
    points = sorted(
        zip(
            relative_cost(curve.cost, cost, convention).tolist(),
            curve.quality.tolist(),
            curve.cost_weight.tolist(),
            strict=True,
        )
    )
    for at, quality, cost_weight in zip(GRID, sampled.quality.tolist(), sampled.cost_weight.tolist(), strict=True):
        affordable = [point for point in points if point[0] <= at]
        if not affordable:
            assert quality == (points[0][1] if convention.left == "hold" else 0.0)
            assert math.isnan(cost_weight)
            continue
        expected = affordable[-1][1]
        if convention.interpolation == "linear":
            for left, right in pairwise(points):
                if left[0] <= at < right[0]:
                    expected = left[1] + (right[1] - left[1]) * (at - left[0]) / (right[0] - left[0])
        assert quality == pytest.approx(expected, abs=1e-12)
        assert cost_weight == affordable[-1][2]


def test_sampled_cost_weight_costs_no_more_and_a_smaller_one_costs_more():
    estimated, test, _, cost = made()
    curve = deferral_curve(estimated, cost, test.error, test.observed)
    rows = test.observed.any(-1)

    def mean_cost(weight):
        chosen = choose_llm(estimated[rows].double(), cost.double(), weight, test.observed[rows])
        return float(cost.double()[chosen].mean() / cost.max())

    for at, weight in zip(GRID, sample_curve(curve, cost, DEFAULT_CONVENTION).cost_weight.tolist(), strict=True):
        if not math.isnan(weight):
            assert mean_cost(weight * (1 + 1e-9) + 1e-12) <= at + 1e-12
            assert weight == 0 or mean_cost(weight * (1 - 1e-9)) > at


def test_area_of_the_sampled_curve_is_nearly_the_exact_one():
    estimated, test, _, cost = made(num_prompts=3000)
    curve = deferral_curve(estimated, cost, test.error, test.observed)
    quality = sample_curve(curve, cost, DEFAULT_CONVENTION).quality
    area = torch.trapezoid(quality, torch.tensor(GRID, dtype=torch.float64))
    assert float(area) == pytest.approx(area_under_deferral_curve(curve, cost), abs=1e-4)


def test_of_points_of_one_cost_the_last_in_cost_counts():
    cost = torch.tensor([1.0, 1.0])
    curve = DeferralCurve(*(torch.tensor(v, dtype=torch.float64) for v in ([0.0, 1.0], [1.0, 1.0], [0.7, 0.4])))
    sampled = sample_curve(curve, cost, DEFAULT_CONVENTION)
    assert (sampled.quality[-1], sampled.cost_weight[-1]) == (0.7, 0.0)
    assert sampled.quality[50] == 0.4


# reliability


def test_bins_are_those_of_a_loop_over_observed_pairs():
    estimated, test, _, _ = made()
    found = measure_reliability(estimated, test.error, test.observed)
    bins = [[] for _ in range(10)]
    for estimates, errors, row in zip(estimated.tolist(), test.error.tolist(), test.observed.tolist(), strict=True):
        for estimate, error, is_observed in zip(estimates, errors, row, strict=True):
            if is_observed:
                bins[min(int(estimate * 10), 9)].append((estimate, error))
    num_pairs = sum(map(len, bins))
    total = 0.0
    for number, pairs in enumerate(bins):
        assert int(found.count[number]) == len(pairs)
        if pairs:
            mean_estimated, mean_observed = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
            assert float(found.estimated[number]) == pytest.approx(mean_estimated)
            assert float(found.observed[number]) == pytest.approx(mean_observed)
            total += len(pairs) / num_pairs * abs(mean_estimated - mean_observed)
    assert found.expected_calibration_error == pytest.approx(total)


def test_true_probabilities_are_calibrated_and_overconfidence_is_not():
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(20_000, 4, generator=generator)
    error = (torch.rand(20_000, 4, generator=generator) < probability).float()
    observed = torch.ones_like(error, dtype=torch.bool)
    assert measure_reliability(probability, error, observed).expected_calibration_error < 0.01
    assert measure_reliability((probability > 0.5).float(), error, observed).expected_calibration_error > 0.2
    assert measure_reliability(error, error, observed).expected_calibration_error == 0.0


def test_estimates_beyond_the_range_fall_into_the_outer_bins():
    estimated = torch.tensor([[-0.2, 0.0, 1.0, 1.3]])
    found = measure_reliability(estimated, torch.zeros(1, 4), torch.ones(1, 4, dtype=torch.bool))
    assert found.count.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.estimated[9] == pytest.approx(1.15)


# sources


@pytest.mark.parametrize("convention", CONVENTIONS[::3], ids=str)
def test_areas_of_a_source_are_those_of_its_prompts_alone(convention):
    estimated, test, source, cost = made()
    scores = score_sources(estimated, test.error, test.observed, source, SOURCES, cost, convention)
    assert list(scores) == SOURCES
    for number, name in enumerate(SOURCES):
        rows = (source == number).nonzero().squeeze(-1)
        error, observed = test.error[rows], test.observed[rows]
        mean = [
            sum(error[observed[:, llm], llm].tolist()) / int(observed[:, llm].sum()) for llm in range(error.shape[1])
        ]
        area, best_area = (
            area_under_deferral_curve(deferral_curve(estimate, cost, error, observed), cost, convention)
            for estimate in (estimated[rows], torch.tensor(mean, dtype=torch.float64).expand(len(rows), -1))
        )
        assert scores[name].num_prompts == int(observed.any(-1).sum())
        assert scores[name].area == pytest.approx(area, abs=1e-12)
        assert scores[name].best_area == pytest.approx(best_area, abs=1e-12)
        assert scores[name].regret == pytest.approx(best_area - area, abs=1e-12)


def test_whoever_knows_each_source_has_no_regret_and_the_oracle_less():
    _, test, source, cost = made(density=1.0)
    test = test._replace(observed=torch.ones_like(test.observed))
    means = torch.stack([test.error[source == number].mean(0) for number in range(len(SOURCES))])
    knowing = score_sources(means[source], test.error, test.observed, source, SOURCES, cost, DEFAULT_CONVENTION)
    oracle = score_sources(test.error, test.error, test.observed, source, SOURCES, cost, DEFAULT_CONVENTION)
    for name in SOURCES:
        assert knowing[name].regret == pytest.approx(0.0, abs=1e-9)
        assert oracle[name].regret < -0.01


@pytest.mark.parametrize("seed", range(5))
def test_estimates_that_are_the_same_for_every_prompt_have_no_negative_regret(seed):
    _, test, source, cost = made(seed)
    test = test._replace(observed=torch.ones_like(test.observed))
    constant = torch.rand(len(cost), generator=torch.Generator().manual_seed(seed)).expand_as(test.error)
    scores = score_sources(constant, test.error, test.observed, source, SOURCES, cost, DEFAULT_CONVENTION)
    assert min(score.regret for score in scores.values()) >= -1e-9


def test_sources_with_fewer_than_ten_outcomes_are_left_out():
    estimated, test, _, cost = made(num_prompts=30)
    test.observed[:20] = True
    test.observed[20:] = False
    source = torch.tensor([0] * 10 + [1] * 9 + [2] + [2] * 10)
    scores = score_sources(estimated, test.error, test.observed, source, SOURCES, cost, DEFAULT_CONVENTION)
    assert {name: score.num_prompts for name, score in scores.items()} == {"alder": 10}


def test_an_llm_without_outcomes_in_a_source_plays_no_part_there():
    estimated, test, source, cost = made()
    observed = test.observed.clone()
    observed[source == 1, 2] = False
    kept = [0, 1, 3, 4, 5]
    with_it = score_sources(estimated, test.error, observed, source, SOURCES, cost, DEFAULT_CONVENTION)
    smaller = Outcomes(test.embedding, test.error[:, kept], observed[:, kept])
    if cost.argmax() == 2:
        pytest.fail("the dearest LLM sets the axis; take another one")
    without = score_sources(
        estimated[:, kept], smaller.error, smaller.observed, source, SOURCES, cost[kept], DEFAULT_CONVENTION
    )
    assert with_it["birch"] == pytest.approx(without["birch"])


# shares


@pytest.mark.parametrize("convention", CONVENTIONS[::4], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_shares_give_cost_of_their_point_and_sum_to_one(seed, convention):
    estimated, test, _, cost = made(seed)
    curve = deferral_curve(estimated, cost, test.error, test.observed)
    shares = shares_along(curve, estimated, cost, test.observed, convention)
    assert 10 <= len(shares.share) <= 25
    assert torch.allclose(shares.share.sum(1), torch.ones(len(shares.share), dtype=torch.float64))
    mean_cost = relative_cost(shares.share @ cost.double(), cost, convention)
    assert torch.allclose(mean_cost, shares.relative_cost, atol=1e-9)
    assert (shares.relative_cost.diff() > 0).all()
    assert (shares.cost_weight.diff() < 0).all()


def test_shares_reach_from_the_cheapest_point_to_the_dearest():
    estimated, test, _, cost = made()
    curve = deferral_curve(estimated, cost, test.error, test.observed)
    shares = shares_along(curve, estimated, cost, test.observed, DEFAULT_CONVENTION)
    rows = test.observed.any(-1)
    best = estimated.masked_fill(~test.observed, math.inf)[rows].argmin(1)
    assert shares.share[-1].tolist() == (torch.bincount(best, minlength=len(cost)).double() / int(rows.sum())).tolist()
    cheapest = cost.expand_as(estimated).masked_fill(~test.observed, math.inf)[rows].argmin(1)
    assert (
        shares.share[0].tolist() == (torch.bincount(cheapest, minlength=len(cost)).double() / int(rows.sum())).tolist()
    )


def test_one_llm_gets_everything():
    estimated, cost = torch.full((4, 1), 0.3), torch.tensor([2.0])
    curve = deferral_curve(estimated, cost, torch.zeros(4, 1))
    shares = shares_along(curve, estimated, cost, torch.ones(4, 1, dtype=torch.bool), DEFAULT_CONVENTION)
    assert (shares.relative_cost.tolist(), shares.share.tolist()) == ([1.0], [[1.0]])


# all of it


def test_json_follows_the_contract():
    content = json.loads(json.dumps(asdict(diagnosed().record()), allow_nan=False))
    assert list(content) == [
        "curve",
        "reliability",
        "expected_calibration_error",
        "sources",
        "worst_source_regret",
        "shares",
    ]
    assert {name: len(values) for name, values in content["curve"].items()} == {
        "relative_cost": 101,
        "quality": 101,
        "cost_weight": 101,
    }
    assert content["curve"]["relative_cost"][0] == 0.0
    assert content["curve"]["relative_cost"][-1] == 1.0
    assert content["curve"]["cost_weight"][0] is None
    assert content["curve"]["cost_weight"][-1] == 0.0
    assert {len(values) for values in content["reliability"].values()} == {10}
    assert set(content["sources"]["cedar"]) == {"num_prompts", "area", "best_area", "regret"}
    assert content["worst_source_regret"] == max(source["regret"] for source in content["sources"].values())
    assert set(content["shares"]) == {"relative_cost", "cost_weight", "share"}
    assert len(content["shares"]["share"][0]) == 6


def test_empty_bins_are_null():
    estimated, test, source, cost = made()
    estimated = estimated.clamp(max=0.69)
    found = diagnose(estimated, test, source, cost)
    content = asdict(found.record())
    assert content["reliability"]["count"][7:] == [0, 0, 0]
    assert content["reliability"]["estimated"][7:] == content["reliability"]["observed"][7:] == [None] * 3
    assert 0 < content["expected_calibration_error"] < 1


def test_shares_are_left_out_where_they_are_not_wanted():
    assert diagnosed(with_shares=False).record().shares is None


def test_order_of_the_prompts_does_not_matter():
    estimated, test, source, cost = made()
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(1))
    found = [
        asdict(diagnose(e, t, s, cost).record())
        for e, t, s in ((estimated, test, source), (estimated[order], test.of_prompts(order), source[order]))
    ]
    assert found[0]["curve"] == found[1]["curve"]
    assert found[0]["shares"] == found[1]["shares"]
    assert found[0]["reliability"] == found[1]["reliability"]
    for name in SOURCES:
        assert found[0]["sources"][name] == pytest.approx(found[1]["sources"][name])


def test_without_a_source_large_enough_there_is_no_worst_one():
    estimated, test, source, cost = made(num_prompts=9)
    test.observed[:] = True
    found = diagnose(estimated, test, source, cost)
    assert (found.sources, found.worst_source_regret) == ({}, None)
