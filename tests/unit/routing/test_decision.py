import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tied_pools import dyadic_weights, enumerate_choices, tied_pools

from unirouter_torch.errors import PoolError
from unirouter_torch.routing import decision
from unirouter_torch.routing.cluster_error import estimate_error
from unirouter_torch.routing.decision import choose_llm, choose_llms, least_total, order_by_cost, rank_totals

seeds = st.integers(0, 10_000)
weights = st.floats(0, 10)


def instance(seed: int, num_prompts: int = 20, num_llms: int = 5):
    generator = torch.Generator().manual_seed(seed)
    error = torch.rand(num_prompts, num_llms, generator=generator, dtype=torch.float64)
    return error, torch.rand(num_llms, generator=generator, dtype=torch.float64)


@given(seeds, weights)
def test_choice_minimises_error_plus_weighted_cost(seed: int, weight: float) -> None:
    error, cost = instance(seed)
    chosen = choose_llm(error, cost, weight)
    for prompt in range(len(error)):
        totals = [error[prompt, llm].item() + weight * cost[llm].item() for llm in range(len(cost))]
        assert totals[int(chosen[prompt])] == min(totals)


@given(seeds, weights)
def test_choice_does_not_depend_on_the_order_of_llms(seed: int, weight: float) -> None:
    error, cost = instance(seed)
    order = torch.randperm(len(cost), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(order[choose_llm(error[:, order], cost[order], weight)], choose_llm(error, cost, weight))


@given(seeds, st.floats(0, 4), st.sampled_from([0.25, 2.0, 8.0]))
def test_scaling_cost_and_inverse_weight_together_changes_nothing(seed: int, weight: float, scale: float) -> None:
    error, cost = instance(seed)
    assert torch.equal(choose_llm(error, cost * scale, weight / scale), choose_llm(error, cost, weight))


@given(seeds, weights, weights)
def test_mean_cost_never_rises_with_the_cost_weight(seed: int, first: float, second: float) -> None:
    error, cost = instance(seed)
    low, high = sorted((first, second))
    assert cost[choose_llm(error, cost, high)].mean() <= cost[choose_llm(error, cost, low)].mean() + 1e-12


@given(seeds, weights)
def test_dominated_llm_is_never_chosen(seed: int, weight: float) -> None:
    error, cost = instance(seed)
    worse = torch.cat([error, error[:, :1] + 0.01], dim=1)
    dearer = torch.cat([cost, cost[:1] + 0.01])
    assert torch.equal(choose_llm(worse, dearer, weight), choose_llm(error, cost, weight))


@given(seeds, weights, weights)
def test_rule_alone_takes_a_cost_weight_for_each_prompt(seed: int, first: float, second: float) -> None:
    error, cost = (part.float() for part in instance(seed, num_prompts=2))
    weight = torch.tensor([[first], [second]])
    expected = [int(choose_llm(error[row : row + 1], cost, float(weight[row]))) for row in range(2)]
    assert least_total(error + weight * cost, order_by_cost(cost)).tolist() == expected


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.5 + 1e-7, 0.5 + 3e-7, 1.0]), max_size=8))
def test_ranking_is_the_choice_again_and_again_without_those_before(total: list[float]) -> None:
    left, expected = list(range(len(total))), []
    while left:
        least = min(total[place] for place in left)
        expected.append(next(place for place in left if total[place] <= least + 2e-7))
        left.remove(expected[-1])
    assert rank_totals(total, 2e-7) == expected


def test_equal_scores_go_to_the_cheaper_llm_then_to_the_lower_column() -> None:
    error = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    assert choose_llm(error, torch.tensor([3.0, 1.0, 2.0, 1.0]), 0.0).tolist() == [1]


def test_unavailable_llm_is_never_chosen() -> None:
    error = torch.tensor([[0.1, 0.9], [0.1, 0.9]])
    available = torch.tensor([[False, True], [True, True]])
    assert choose_llm(error, torch.ones(2), 0.0, available).tolist() == [1, 0]


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_bad_cost_weight_is_refused(weight: float) -> None:
    with pytest.raises(PoolError, match="cost_weight"):
        choose_llm(torch.zeros(1, 2), torch.ones(2), weight)


def test_nan_cost_is_refused() -> None:
    with pytest.raises(PoolError, match="cost"):
        choose_llm(torch.zeros(1, 2), torch.tensor([1.0, math.nan]), 0.1)


def test_prompt_without_any_llm_is_refused() -> None:
    with pytest.raises(PoolError, match="available"):
        choose_llm(torch.zeros(1, 2), torch.ones(2), 0.1, torch.zeros(1, 2, dtype=torch.bool))


@given(tied_pools(), dyadic_weights, st.sampled_from([torch.bfloat16, torch.float32, torch.float64]))
def test_choices_from_clusters_are_those_of_the_definition_ties_included(pool, weight: float, dtype) -> None:
    probability, cluster_error, cost = pool
    chosen = choose_llms(probability.to(dtype), cluster_error.to(dtype), cost, weight)
    assert chosen.tolist() == enumerate_choices(*pool, weight)


@given(tied_pools(), dyadic_weights, st.sampled_from(["PRODUCTS_IN_NUMPY", "PAIRS_AT_ONCE"]))
def test_few_prompts_are_chosen_for_as_many_are(pool, weight: float, limit: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decision, limit, 0)
        assert choose_llms(*pool, weight).tolist() == enumerate_choices(*pool, weight)


@pytest.mark.parametrize("pairs", [0, 10**6])
def test_a_tie_of_one_prompt_does_not_hide_the_nan_of_another(pairs: int) -> None:
    probability = torch.tensor([[1.0, 0.0], [math.nan, 1.0]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decision, "PAIRS_AT_ONCE", pairs)
        with pytest.raises(PoolError, match="NaN"):
            choose_llms(probability, torch.zeros(2, 2), torch.ones(2), 0.1)


@pytest.mark.parametrize("cost", [math.inf, -math.inf, math.nan])
def test_cost_that_is_no_number_is_refused_for_few_prompts_too(cost: float) -> None:
    with pytest.raises(PoolError, match="cost"):
        choose_llms(torch.ones(1, 1), torch.rand(2, 1), torch.tensor([1.0, cost]), 0.1)


@given(tied_pools(), dyadic_weights, st.integers(1, 40))
def test_prompts_at_once_change_no_choice(pool, weight: float, pairs: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decision, "PAIRS_AT_ONCE", pairs)
        assert choose_llms(*pool, weight).tolist() == enumerate_choices(*pool, weight)


@given(tied_pools(), dyadic_weights, seeds, st.sampled_from([1, 8, 10**6]))
def test_only_available_llms_are_chosen_from_clusters(pool, weight: float, seed: int, pairs: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    available = torch.rand(len(pool[0]), len(pool[2]), generator=generator) < 0.4
    available[:, seed % len(pool[2])] |= ~available.any(-1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decision, "PAIRS_AT_ONCE", pairs)
        chosen = choose_llms(*pool, weight, available)
    assert chosen.tolist() == enumerate_choices(*pool, weight, available)


@given(tied_pools(), dyadic_weights)
def test_pruning_changes_no_choice_ties_included(pool, weight: float) -> None:
    probability, *llms = pool
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decision, "PAIRS_AT_ONCE", 0)
        patch.setattr(decision, "PROMPTS_PER_LLM_TO_PRUNE", 0)
        pruned = choose_llms(probability, *llms, weight)
        patch.setattr(decision, "PROMPTS_PER_LLM_TO_PRUNE", 10**9)
        assert torch.equal(pruned, choose_llms(probability, *llms, weight))


def test_gradients_do_not_stand_in_the_way_of_a_choice() -> None:
    probability = torch.eye(3).requires_grad_()
    for prompts in (probability, probability.repeat(60_000, 1)):
        chosen = choose_llms(prompts, torch.eye(3).requires_grad_(), torch.zeros(3).requires_grad_(), 0.1)
        assert chosen[:3].tolist() == [1, 0, 0]


@given(seeds, weights, st.sampled_from([1, 2, 3, 16, 17, 100]))
def test_choices_from_clusters_are_those_from_their_estimates(seed: int, weight: float, num_llms: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probability = torch.randn(50, 7, generator=generator).mul(2).softmax(-1)
    cluster_error, cost = torch.rand(num_llms, 7, generator=generator), torch.rand(num_llms, generator=generator)
    estimated = estimate_error(probability, cluster_error)
    assert torch.equal(choose_llms(probability, cluster_error, cost, weight), choose_llm(estimated, cost, weight))


def test_llms_that_rounding_alone_parts_are_a_tie() -> None:
    error = torch.tensor([[0.5, 0.5 + 1e-6, 0.5 + 3e-6]])
    assert choose_llm(error, torch.tensor([2.0, 1.0, 0.0]), 0.0).tolist() == [1]
    assert choose_llms(torch.ones(1, 1), error.T, torch.tensor([2.0, 1.0, 0.0]), 0.0).tolist() == [1]
    assert choose_llm(error.double(), torch.tensor([2.0, 1.0, 0.0]), 0.0).tolist() == [0]


def test_empty_pool_is_refused() -> None:
    with pytest.raises(PoolError, match="empty"):
        choose_llms(torch.ones(1, 1), torch.zeros(0, 1), torch.zeros(0), 0.1)


def test_no_prompts_give_no_choices() -> None:
    assert choose_llms(torch.zeros(0, 2), torch.zeros(3, 2), torch.ones(3), 0.1).tolist() == []


def test_estimate_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(PoolError, match="NaN"):
        choose_llms(torch.tensor([[1.0, math.nan]]), torch.zeros(3, 2), torch.ones(3), 0.1)


def test_prompt_without_any_llm_is_refused_from_clusters() -> None:
    with pytest.raises(PoolError, match="available"):
        choose_llms(torch.ones(1, 1), torch.zeros(2, 1), torch.ones(2), 0.1, torch.zeros(1, 2, dtype=torch.bool))
