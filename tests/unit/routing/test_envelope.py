"""The lower envelope: at every cost weight each prompt is at the LLM that the rule chooses."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from tied_pools import enumerate_choices, tied_pools

from unirouter_torch.routing.decision import choose_llms, order_by_cost, tie_tolerance
from unirouter_torch.routing.envelope import lower_envelope

WEIGHTS = [0.5, 0.0, 4.0, 0.125, 1.0, 0.25]


def choices(probability, cluster_error, cost, weights: list[float], available=None) -> list[list[int]]:
    """The LLM of each prompt on its envelope, for one cost weight after another."""
    by_cost = order_by_cost(cost)
    estimated = probability @ cluster_error.T
    if available is not None:
        estimated = estimated.masked_fill(~available, torch.inf)
    found = lower_envelope(estimated[:, by_cost], cost[by_cost], tie_tolerance(estimated.dtype))
    takes = [(found.cost_weight <= weight) & (weight < found.until) for weight in weights]
    return [by_cost[found.llm[its]].tolist() for its in takes]


@given(tied_pools())
def test_choices_along_the_envelope_are_those_of_the_definition_ties_included(pool) -> None:
    assert choices(*pool, WEIGHTS) == [enumerate_choices(*pool, weight) for weight in WEIGHTS]


@given(tied_pools(), st.integers(0, 10_000))
def test_only_available_llms_are_on_the_envelope(pool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    available = torch.rand(len(pool[0]), len(pool[2]), generator=generator) < 0.4
    available[:, seed % len(pool[2])] |= ~available.any(-1)
    expected = [enumerate_choices(*pool, weight, available) for weight in WEIGHTS]
    assert choices(*pool, WEIGHTS, available) == expected


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 30]), st.sampled_from([torch.float32, torch.float64]))
def test_choices_along_the_envelope_are_those_of_choose_llms(seed: int, num_llms: int, dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    probability = torch.randn(40, 5, generator=generator).to(dtype).mul(3).softmax(-1)
    cluster_error = torch.rand(num_llms, 5, generator=generator).to(dtype)
    cost = torch.rand(num_llms, generator=generator).mul(5).exp()
    weights = torch.rand(50, generator=generator).pow(4).tolist()
    alone = [choose_llms(probability, cluster_error, cost, weight).tolist() for weight in weights]
    assert choices(probability, cluster_error, cost, weights) == alone


def test_envelope_holds_the_llms_that_win_somewhere() -> None:
    found = lower_envelope(torch.tensor([[0.75, 0.5, 0.625, 0.0]]), torch.tensor([0.0, 1.0, 2.0, 3.0]))
    assert found.llm.tolist() == [0, 3]
    assert found.cost_weight.tolist() == [0.25, 0.0]


def test_llms_that_rounding_parts_go_to_the_cheaper_one() -> None:
    cluster_error = torch.tensor([[0.5], [0.5 + 1e-6]])
    assert choices(torch.ones(1, 1), cluster_error, torch.tensor([1.0, 0.5]), WEIGHTS) == [[1]] * len(WEIGHTS)
