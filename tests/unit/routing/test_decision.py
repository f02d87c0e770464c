import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.decision import choose_llm, order_by_cost, smallest_total

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


@given(seeds, weights)
def test_rule_without_checks_is_the_same_rule(seed: int, weight: float) -> None:
    error, cost = (part.float() for part in instance(seed))
    chosen = smallest_total(error, cost, torch.tensor(weight), order_by_cost(cost))
    assert torch.equal(chosen, choose_llm(error, cost, weight))


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
