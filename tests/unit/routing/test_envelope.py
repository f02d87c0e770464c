import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tied_pools import enumerate_choices, tied_pools

from unirouter_torch.errors import PoolError
from unirouter_torch.routing import envelope
from unirouter_torch.routing.decision import choose_llms
from unirouter_torch.routing.envelope import choose_for_weights, lower_envelope

WEIGHTS = torch.tensor([0.5, 0.0, 4.0, 0.125, 1.0, 0.5, 0.25])


@given(tied_pools(), st.integers(1, 40))
def test_choices_for_all_weights_are_those_of_the_definition_ties_included(pool, pairs: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope, "PAIRS_AT_ONCE", pairs)
        chosen = choose_for_weights(*pool, WEIGHTS)
    for column, weight in enumerate(WEIGHTS.tolist()):
        assert chosen[:, column].tolist() == enumerate_choices(*pool, weight)


@given(tied_pools(), st.integers(0, 10_000))
def test_only_available_llms_are_chosen(pool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    available = torch.rand(len(pool[0]), len(pool[2]), generator=generator) < 0.4
    available[:, seed % len(pool[2])] |= ~available.any(-1)
    chosen = choose_for_weights(*pool, WEIGHTS, available)
    for column, weight in enumerate(WEIGHTS.tolist()):
        assert chosen[:, column].tolist() == enumerate_choices(*pool, weight, available)


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 30]), st.sampled_from([torch.float32, torch.float64]))
def test_choices_for_all_weights_are_those_of_one_weight_after_the_other(seed: int, num_llms: int, dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    probability = torch.randn(40, 5, generator=generator).to(dtype).mul(3).softmax(-1)
    cluster_error = torch.rand(num_llms, 5, generator=generator).to(dtype)
    cost = torch.rand(num_llms, generator=generator).mul(5).exp()
    weights = torch.rand(50, generator=generator).pow(4)
    alone = [choose_llms(probability, cluster_error, cost, weight) for weight in weights.tolist()]
    assert torch.equal(choose_for_weights(probability, cluster_error, cost, weights), torch.stack(alone, 1))


def test_envelope_holds_the_llms_that_win_somewhere() -> None:
    found = lower_envelope(torch.tensor([[0.75, 0.5, 0.625, 0.0]]), torch.tensor([0.0, 1.0, 2.0, 3.0]))
    assert found.llm.tolist() == [0, 3]
    assert found.cost_weight.tolist() == [0.25, 0.0]


def test_twins_that_rounding_parts_go_to_the_cheaper_one() -> None:
    cluster_error = torch.tensor([[0.5], [0.5 + 1e-6]])
    assert choose_for_weights(torch.ones(1, 1), cluster_error, torch.tensor([1.0, 0.5]), WEIGHTS).unique().tolist() == [
        1
    ]


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_bad_cost_weight_is_refused(weight: float) -> None:
    with pytest.raises(PoolError, match="cost_weight"):
        choose_for_weights(torch.ones(1, 1), torch.zeros(2, 1), torch.ones(2), torch.tensor([0.1, weight]))


def test_prompt_without_any_llm_is_refused() -> None:
    with pytest.raises(PoolError, match="available"):
        choose_for_weights(
            torch.ones(1, 1), torch.zeros(2, 1), torch.ones(2), WEIGHTS, torch.zeros(1, 2, dtype=torch.bool)
        )
