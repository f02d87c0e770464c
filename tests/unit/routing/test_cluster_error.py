import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from unirouter_torch.routing.cluster_error import (
    ClusterSums,
    cluster_error,
    expected_cluster_error,
    overall_error,
    sum_by_cluster,
)


def random_calibration(seed: int, num_prompts: int = 30, num_llms: int = 4, num_clusters: int = 3):
    generator = torch.Generator().manual_seed(seed)
    probability = torch.rand(num_prompts, num_clusters, generator=generator, dtype=torch.float64).softmax(-1)
    error = torch.rand(num_prompts, num_llms, generator=generator, dtype=torch.float64)
    observed = torch.rand(num_prompts, num_llms, generator=generator) < 0.7
    observed[0] = True
    return probability, error, observed


seeds = st.integers(0, 10_000)
shrinkages = st.floats(0, 50)


@given(seeds, shrinkages)
def test_cluster_error_equals_the_formula_written_as_loops(seed: int, shrinkage: float) -> None:
    probability, error, observed = random_calibration(seed)
    found = cluster_error(sum_by_cluster(probability, error, observed), shrinkage)
    for llm in range(error.shape[1]):
        rows = [j for j in range(len(error)) if observed[j, llm]]
        overall = sum(error[j, llm].item() for j in rows) / len(rows)
        for cluster in range(probability.shape[1]):
            weight = sum(probability[j, cluster].item() for j in rows)
            weighted = sum(probability[j, cluster].item() * error[j, llm].item() for j in rows)
            expected = (weighted + shrinkage * overall) / (weight + shrinkage)
            assert abs(found[llm, cluster].item() - expected) < 1e-12


@given(seeds, shrinkages)
def test_cluster_error_lies_in_the_unit_interval(seed: int, shrinkage: float) -> None:
    found = cluster_error(sum_by_cluster(*random_calibration(seed)), shrinkage)
    assert ((found >= 0) & (found <= 1)).all()


@given(seeds, st.integers(1, 29))
def test_sums_of_parts_add_up_to_the_sums_of_the_whole(seed: int, cut: int) -> None:
    probability, error, observed = random_calibration(seed)
    whole = sum_by_cluster(probability, error, observed)
    left = sum_by_cluster(probability[:cut], error[:cut], observed[:cut])
    right = sum_by_cluster(probability[cut:], error[cut:], observed[cut:])
    torch.testing.assert_close(left.error + right.error, whole.error)
    torch.testing.assert_close(left.weight + right.weight, whole.weight)


@given(seeds)
def test_duplicating_all_calibration_prompts_changes_nothing_without_shrinkage(seed: int) -> None:
    once = random_calibration(seed)
    twice = [torch.cat([tensor, tensor]) for tensor in once]
    torch.testing.assert_close(cluster_error(sum_by_cluster(*once), 0.0), cluster_error(sum_by_cluster(*twice), 0.0))


@given(seeds)
def test_unobserved_errors_do_not_matter(seed: int) -> None:
    probability, error, observed = random_calibration(seed)
    other = torch.where(observed, error, 1 - error)
    torch.testing.assert_close(
        sum_by_cluster(probability, error, observed).error, sum_by_cluster(probability, other, observed).error
    )


def test_strong_shrinkage_gives_the_overall_error() -> None:
    sums = sum_by_cluster(*random_calibration(0))
    torch.testing.assert_close(cluster_error(sums, 1e12), overall_error(sums)[:, None].expand(-1, 3), atol=1e-9, rtol=0)


def test_empty_cluster_takes_the_overall_error() -> None:
    probability = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    sums = sum_by_cluster(probability, torch.tensor([[1.0], [0.0]]), torch.ones(2, 1, dtype=torch.bool))
    assert cluster_error(sums, 0.0).tolist() == [[0.5, 0.5]]


def test_llm_without_outcomes_takes_one_half() -> None:
    sums = ClusterSums(torch.zeros(1, 3), torch.zeros(1, 3))
    assert cluster_error(sums, 0.0).tolist() == [[0.5, 0.5, 0.5]]
    assert cluster_error(sums, 5.0).tolist() == [[0.5, 0.5, 0.5]]


def test_gradient_reaches_probabilities_and_shrinkage() -> None:
    probability, error, observed = random_calibration(3)
    logits = probability.log().requires_grad_()
    log_shrinkage = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def psi(logits: torch.Tensor, log_shrinkage: torch.Tensor) -> torch.Tensor:
        return cluster_error(sum_by_cluster(logits.softmax(-1), error, observed), log_shrinkage.exp())

    assert torch.autograd.gradcheck(psi, (logits, log_shrinkage))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@given(seeds, st.floats(0, 3))
def test_expected_errors_add_up_to_those_made_and_one_half_more(seed: int, spread: float) -> None:
    sums = sum_by_cluster(*random_calibration(seed))
    difficulty = spread * torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = expected_cluster_error(sums, difficulty)
    for llm in range(4):
        weight, made = sums.weight[llm].tolist(), float(sums.error[llm].sum()) + 0.5

        def surplus(ability: float, weight=weight, made=made) -> float:
            expected = [w * sigmoid(d - ability) for w, d in zip(weight, difficulty.tolist(), strict=True)]
            return sum(expected) + sigmoid(-ability) - made

        ability = brentq(surplus, -50, 50)
        assert found[llm].tolist() == pytest.approx([sigmoid(d - ability) for d in difficulty.tolist()], abs=1e-6)


def test_equal_difficulty_expects_the_overall_error_everywhere() -> None:
    sums = sum_by_cluster(*random_calibration(0))
    overall = (sums.error.sum(-1) + 0.5) / (sums.weight.sum(-1) + 1)
    found = expected_cluster_error(sums, torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(found, overall[:, None].expand(-1, 3))


def test_llm_observed_on_easy_prompts_alone_is_not_taken_for_a_strong_one() -> None:
    # both made 20 errors on 100 prompts, one on easy and one on hard prompts
    sums = ClusterSums(torch.tensor([[20.0, 0.0], [0.0, 20.0]]), torch.tensor([[100.0, 0.0], [0.0, 100.0]]))
    found = expected_cluster_error(sums, torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(found.diagonal(), torch.tensor([0.2, 0.2]), atol=0.01, rtol=0)
    assert found[0, 1] > 0.55
    assert found[1, 0] < 0.05


def test_llm_without_outcomes_is_expected_to_err_as_the_difficulty_says() -> None:
    difficulty = torch.tensor([-2.0, 0.0, 3.0])
    found = expected_cluster_error(ClusterSums(torch.zeros(1, 3), torch.zeros(1, 3)), difficulty)
    torch.testing.assert_close(found, difficulty.sigmoid()[None])


@pytest.mark.parametrize("made", [0.0, 1.0])
def test_llm_that_always_or_never_errs_keeps_a_finite_expectation(made: float) -> None:
    sums = ClusterSums(torch.full((1, 2), 400.0 * made), torch.full((1, 2), 400.0))
    found = expected_cluster_error(sums, torch.tensor([-1.0, 1.0]))
    assert ((found > 0) & (found < 1)).all()
    assert float((found - made).abs().max()) < 0.01


def test_strong_shrinkage_gives_the_expected_error() -> None:
    sums = sum_by_cluster(*random_calibration(0))
    expected = torch.rand(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(cluster_error(sums, 1e12, expected), expected)


def test_gradient_reaches_the_difficulty() -> None:
    sums = sum_by_cluster(*random_calibration(3))
    difficulty = torch.tensor([-0.5, 0.2, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: expected_cluster_error(sums, d), difficulty)
