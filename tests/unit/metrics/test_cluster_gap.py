import math

import pytest
import torch

from unirouter_torch.metrics.cluster_gap import (
    MIN_TEST_PROMPTS,
    ClusteredOutcomes,
    measure_cluster_gap,
)


def hard(cluster, num_clusters):
    return torch.nn.functional.one_hot(cluster, num_clusters).float()


def made(seed, num_prompts, num_llms=4, num_clusters=3, density=0.8, soft=False):
    """Outcomes whose error probabilities depend on cluster and LLM, at the same rates for every seed."""
    rate = torch.rand(num_clusters, num_llms, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    if soft:
        probability = torch.randn(num_prompts, num_clusters, generator=generator).mul(2).softmax(-1)
    else:
        probability = hard(torch.randint(0, num_clusters, (num_prompts,), generator=generator), num_clusters)
    error = torch.bernoulli(probability @ rate, generator=generator)
    return ClusteredOutcomes(probability, error, torch.rand(num_prompts, num_llms, generator=generator) < density)


def mean_errors(outcomes, shrinkage=0.0):
    """Weight and shrunk mean error of each LLM in each cluster, pair by pair."""
    num_prompts, num_llms = outcomes.error.shape
    found = {}
    for llm in range(num_llms):
        rows = [row for row in range(num_prompts) if outcomes.observed[row, llm]]
        overall = sum(float(outcomes.error[row, llm]) for row in rows) / len(rows)
        for k in range(outcomes.probability.shape[1]):
            weight = sum(float(outcomes.probability[row, k]) for row in rows)
            total = sum(float(outcomes.probability[row, k] * outcomes.error[row, llm]) for row in rows)
            mean = (total + shrinkage * overall) / (weight + shrinkage) if weight + shrinkage > 0 else overall
            found[llm, k] = weight, mean
    return found


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("shrinkage", [0.0, 7.0])
def test_figures_are_those_of_a_loop_over_llms_and_clusters(soft, shrinkage):
    calibration, test = made(1, 60, soft=soft), made(2, 90, soft=soft)
    found = measure_cluster_gap(calibration, test, shrinkage=shrinkage, seed=0)
    psi, truth = mean_errors(calibration, shrinkage), mean_errors(test)
    counted = {pair: weight for pair, (weight, _) in truth.items() if weight >= MIN_TEST_PROMPTS}
    assert 3 < len(counted) < 12, "some pairs are to be left out"
    gap = {pair: abs(truth[pair][1] - psi[pair][1]) for pair in counted}
    total = sum(counted.values())
    largest = {k: max(gap[pair] for pair in counted if pair[1] == k) for _, k in counted}
    assert found.measured.mean == pytest.approx(sum(counted[p] * gap[p] for p in counted) / total, abs=1e-6)
    assert found.measured.mean_square == pytest.approx(sum(counted[p] * gap[p] ** 2 for p in counted) / total, abs=1e-6)
    assert found.measured.expected_max == pytest.approx(
        sum(counted[p] * largest[p[1]] for p in counted) / total, abs=1e-6
    )
    assert found.measured.max == pytest.approx(max(gap.values()), abs=1e-6)
    assert found.covered == pytest.approx(total / sum(weight for weight, _ in truth.values()), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_mean_lies_below_the_expected_maximum_and_that_below_the_maximum(seed):
    for figures in measure_cluster_gap(made(seed, 100), made(seed + 50, 200), shrinkage=1.0, seed=0)[:2]:
        assert 0 < figures.mean < figures.expected_max < figures.max <= 1
        assert figures.mean**2 <= figures.mean_square <= figures.max**2


def test_calibration_prompts_that_are_the_test_prompts_leave_no_gap_but_a_floor():
    test = made(0, 300)
    found = measure_cluster_gap(test, test, shrinkage=0.0, seed=0)
    assert found.measured == pytest.approx((0, 0, 0, 0), abs=1e-6)
    assert found.floor.mean > 0.01
    assert found.beyond_floor == 0.0


def test_floor_is_the_mean_deviation_of_a_binomial_share():
    test = ClusteredOutcomes(torch.ones(400, 1), torch.arange(400).remainder(2)[:, None].expand(-1, 40).float(), ALL)
    found = measure_cluster_gap(test, test, shrinkage=0.0, seed=0)
    assert found.floor.mean == pytest.approx(0.5 * math.sqrt(2 / (math.pi * 400)), rel=0.05)
    assert found.floor.mean_square == pytest.approx(0.25 / 400, rel=0.1)


ALL = torch.ones(400, 40, dtype=torch.bool)


def test_exact_cluster_errors_show_no_more_than_the_floor():
    calibration, test = made(1, 60_000, num_llms=30, density=1.0), made(2, 600, num_llms=30, density=1.0)
    found = measure_cluster_gap(calibration, test, shrinkage=0.0, seed=0)
    assert found.measured.mean == pytest.approx(found.floor.mean, rel=0.2)
    assert found.measured.expected_max == pytest.approx(found.floor.expected_max, rel=0.3)
    assert found.beyond_floor < found.floor.mean


@pytest.mark.parametrize("shift", [-0.2, 0.2])
def test_a_known_error_of_the_cluster_errors_lies_beyond_the_floor(shift):
    generator = torch.Generator().manual_seed(0)
    test = ClusteredOutcomes(torch.ones(400, 1), torch.bernoulli(torch.full((400, 40), 0.5), generator=generator), ALL)
    calibration = ClusteredOutcomes(torch.ones(5, 1), torch.full((5, 40), 0.5 + shift), ALL[:5])
    found = measure_cluster_gap(calibration, test, shrinkage=0.0, seed=0)
    assert found.beyond_floor == pytest.approx(0.2, abs=0.01)
    assert found.measured.mean == pytest.approx(0.2, abs=0.01)


def test_floor_rests_on_calibration_and_test_prompts_together():
    half_wrong = torch.arange(400).remainder(2)[:, None].expand(-1, 40).float()
    test = ClusteredOutcomes(torch.ones(400, 1), half_wrong, ALL)
    calibration = ClusteredOutcomes(torch.ones(5, 1), torch.zeros(5, 40), ALL[:5])
    found = measure_cluster_gap(calibration, test, shrinkage=0.0, seed=0)
    assert found.floor.mean_square == pytest.approx(0.25 / 400, rel=0.1)
    assert found.measured.mean == pytest.approx(0.5)


def test_order_of_llms_clusters_and_prompts_changes_nothing():
    calibration, test = made(1, 60), made(2, 120)
    shuffled = [
        ClusteredOutcomes(
            part.probability.flip(0)[:, [2, 0, 1]],
            part.error.flip(0)[:, [1, 3, 0, 2]],
            part.observed.flip(0)[:, [1, 3, 0, 2]],
        )
        for part in (calibration, test)
    ]
    straight, other = (
        measure_cluster_gap(*parts, shrinkage=2.0, seed=0) for parts in ((calibration, test), tuple(shuffled))
    )
    assert straight.measured == pytest.approx(other.measured, abs=1e-6)
    assert straight.covered == pytest.approx(other.covered)


def test_a_pair_counts_from_twenty_test_prompts_on():
    probability = hard(torch.tensor([0] * 20 + [1] * 19), 2)
    test = ClusteredOutcomes(probability, torch.ones(39, 1), torch.ones(39, 1, dtype=torch.bool))
    calibration = ClusteredOutcomes(
        hard(torch.tensor([0, 1]), 2), torch.tensor([[0.75], [0.0]]), torch.ones(2, 1).bool()
    )
    found = measure_cluster_gap(calibration, test, shrinkage=0.0, seed=0)
    assert found.measured.max == found.measured.mean == pytest.approx(0.25)
    assert found.covered == pytest.approx(20 / 39)
    assert (
        measure_cluster_gap(calibration, ClusteredOutcomes(*(part[1:] for part in test)), shrinkage=0.0, seed=0) is None
    )


def test_floor_is_the_same_at_the_same_seed_alone():
    first, again, other = (measure_cluster_gap(made(1, 60), made(2, 90), shrinkage=1.0, seed=s) for s in (0, 0, 1))
    assert first == again
    assert first.measured == other.measured
    assert first.floor != other.floor


def test_figures_carry_the_names_of_what_they_are():
    found = measure_cluster_gap(made(1, 60), made(2, 90), shrinkage=1.0, seed=0)
    assert found.figures() == {
        "mean_gap": found.measured.mean,
        "mean_gap_floor": found.floor.mean,
        "expected_max_gap": found.measured.expected_max,
        "expected_max_gap_floor": found.floor.expected_max,
        "max_gap": found.measured.max,
        "max_gap_floor": found.floor.max,
        "gap_beyond_floor": math.sqrt(max(0.0, found.measured.mean_square - found.floor.mean_square)),
        "covered": found.covered,
    }
