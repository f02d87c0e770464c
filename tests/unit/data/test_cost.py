from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from unirouter_torch.data.cost import CostFacts, CostRule, LLMCost, choose_cost
from unirouter_torch.data.table import TablePlaces, build_table
from unirouter_torch.errors import DataError

NAMES = ["heron", "wren"]
NAN = torch.nan


def facts(
    *,
    pair_cost: Any = NAN,
    output_tokens: Any = NAN,
    prompt_tokens: Any = NAN,
    price_in: Any = NAN,
    price_out: Any = NAN,
    params_b: Any = NAN,
    num_llms: int = 2,
    observed: Any = None,
) -> CostFacts:
    def filled(value: Any, *shape: int) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64).expand(shape)

    return CostFacts(
        observed=torch.ones(2, num_llms, dtype=torch.bool) if observed is None else torch.tensor(observed),
        pair_cost=filled(pair_cost, 2, num_llms),
        output_tokens=filled(output_tokens, 2, num_llms),
        prompt_tokens=filled(prompt_tokens, 2),
        price_in=filled(price_in, num_llms),
        price_out=filled(price_out, num_llms),
        params_b=filled(params_b, num_llms),
    )


BILLED: dict[str, Any] = {"pair_cost": [[0.5, NAN], [0.25, 0.125]]}
PRICES: dict[str, Any] = {"price_in": [1.0, 4.0], "price_out": [10.0, 20.0]}
LENGTHS: dict[str, Any] = {"prompt_tokens": [100.0, 300.0], "output_tokens": [[50.0, 10.0], [70.0, NAN]]}
SIZES: dict[str, Any] = {"params_b": [7.0, 70.0]}
ALL: dict[str, Any] = {**BILLED, **PRICES, **LENGTHS, **SIZES}

BY_HAND: dict[CostRule, tuple[list[float], str]] = {
    # (0.5 + 0.25) / 2, and the one billed pair of wren
    "billed": ([0.375, 0.125], "US dollars per prompt"),
    # ((100*1 + 50*10) + (300*1 + 70*10)) / 2 = 800, and 100*4 + 10*20 = 600 millionths
    "estimated": ([800e-6, 600e-6], "US dollars per prompt"),
    "list_price": ([5.5, 12.0], "US dollars per million tokens (mean list price)"),
    "parameters": ([7.0, 70.0], "billion parameters"),
    "equal": ([1.0, 1.0], "requests"),
}


def cost_of(rule: CostRule, known: CostFacts) -> tuple[LLMCost, list[int]]:
    cost, llms = choose_cost(rule, known, NAMES)
    return cost, llms.tolist()


@pytest.mark.parametrize("rule", BY_HAND)
def test_each_rule_gives_the_number_computed_by_hand(rule: CostRule) -> None:
    cost, llms = cost_of(rule, facts(**ALL))
    value, unit = BY_HAND[rule]
    torch.testing.assert_close(cost.value, torch.tensor(value, dtype=torch.float64), rtol=1e-12, atol=0.0)
    assert (cost.unit, cost.rule, llms) == (unit, rule, [0, 1])


def test_only_estimated_costs_are_called_estimates() -> None:
    assert [rule for rule in BY_HAND if cost_of(rule, facts(**ALL))[0].is_estimate] == ["estimated"]


@pytest.mark.parametrize(
    ("known", "rule"),
    [
        (ALL, "billed"),
        ({**PRICES, **LENGTHS, **SIZES}, "estimated"),
        ({**PRICES, **SIZES}, "list_price"),
        (SIZES, "parameters"),
    ],
)
def test_auto_takes_the_first_known_rule(known: dict[str, Any], rule: str) -> None:
    assert cost_of("auto", facts(**known))[0].rule == rule


def test_auto_without_any_fact_ends_at_equal_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="nothing distinguishes the LLMs by cost"):
        cost, llms = cost_of("auto", facts())
    assert (cost.rule, cost.value.tolist(), llms) == ("equal", [1.0, 1.0], [0, 1])


@pytest.mark.parametrize(("params_b", "rule"), [([3.0, NAN, NAN, NAN], "equal"), ([3.0, 4.0, NAN, NAN], "parameters")])
def test_auto_wants_a_cost_for_at_least_half_of_the_llms(params_b: list[float], rule: str) -> None:
    with pytest.warns(UserWarning):
        cost, _ = choose_cost("auto", facts(params_b=params_b, num_llms=4), ["a", "b", "c", "d"])
    assert cost.rule == rule


def test_half_of_an_odd_number_is_not_rounded_down() -> None:
    with pytest.warns(UserWarning):
        cost, _ = choose_cost("auto", facts(params_b=[3.0, NAN, NAN], num_llms=3), ["a", "b", "c"])
    assert cost.rule == "equal"


def test_llms_without_cost_are_left_out_and_named() -> None:
    expected = "cost rule 'parameters': 1 of 2 LLMs have no cost and are left out: heron. Give params_b"
    with pytest.warns(UserWarning, match=expected):
        cost, llms = cost_of("parameters", facts(params_b=[NAN, 7.0]))
    assert (cost.value.tolist(), llms) == ([7.0], [1])


def test_of_many_llms_left_out_five_are_named() -> None:
    names = [f"llm{number}" for number in range(8)]
    with pytest.warns(UserWarning, match=r"7 of 8 LLMs .*: llm0, llm1, llm2, llm3, llm4 and 2 more\."):
        choose_cost("parameters", facts(params_b=[NAN] * 7 + [1.0], num_llms=8), names)


@pytest.mark.parametrize(
    ("rule", "needed"),
    [
        ("billed", "cost_usd"),
        ("estimated", "output_tokens or output_chars"),
        ("list_price", "price_in and price_out"),
        ("parameters", "params_b"),
    ],
)
def test_rule_that_knows_no_llm_is_refused(rule: CostRule, needed: str) -> None:
    with pytest.raises(DataError, match=f"cost rule '{rule}': known for no LLM, expected .*{needed}.*data.cost"):
        cost_of(rule, facts())


def test_one_price_alone_is_no_list_price() -> None:
    with pytest.raises(DataError, match="known for no LLM"):
        cost_of("list_price", facts(price_in=[1.0, 2.0]))


def test_costs_that_are_all_zero_are_refused_but_one_free_llm_is_not() -> None:
    with pytest.raises(DataError, match=r"cost rule 'billed': every LLM costs 0.*data\.cost: equal"):
        cost_of("auto", facts(pair_cost=0.0))
    assert cost_of("auto", facts(pair_cost=[0.0, 1.0]))[0].value.tolist() == [0.0, 1.0]


def test_lengths_are_characters_over_four_where_tokens_were_not_counted() -> None:
    table = build_table(
        pa.table({"prompt_id": ["p1", "p2"], "prompt": ["é" * 400, "b" * 1200]}),
        pa.table({"model_id": NAMES, **PRICES}),
        pa.table(
            {
                "prompt_id": ["p1", "p2", "p1"],
                "model_id": ["heron", "heron", "wren"],
                "score": [1.0, 0.0, 1.0],
                "output_tokens": [None, 70, None],
                "output_chars": [200, 4, 40],
            }
        ),
        name="birds",
        places=TablePlaces("p", "m", "o"),
    )
    expected = torch.tensor(BY_HAND["estimated"][0], dtype=torch.float64)
    torch.testing.assert_close(table.cost.value, expected, rtol=1e-12, atol=0.0)


def test_auto_passes_over_estimates_that_rest_on_few_answers_and_says_so() -> None:
    lengths = torch.full((8, 2), NAN, dtype=torch.float64)
    lengths[0] = 50.0
    known = CostFacts(
        observed=torch.ones(8, 2, dtype=torch.bool),
        pair_cost=torch.full((8, 2), NAN, dtype=torch.float64),
        output_tokens=lengths,
        prompt_tokens=torch.full((8,), 10.0, dtype=torch.float64),
        price_in=torch.tensor([1.0, 2.0], dtype=torch.float64),
        price_out=torch.tensor([3.0, 4.0], dtype=torch.float64),
        params_b=torch.full((2,), NAN, dtype=torch.float64),
    )
    with pytest.warns(UserWarning, match=r"'auto': lengths are known of 12% of the answers, too few .* 'list_price'"):
        cost, _ = cost_of("auto", known)
    assert (cost.rule, cost.value.tolist()) == ("list_price", [2.0, 3.0])
    with pytest.warns(UserWarning, match=r"'estimated': lengths are known of 12% of the answers; costs are means"):
        assert cost_of("estimated", known)[0].is_estimate
    lengths[:4] = 50.0
    assert cost_of("auto", known)[0].rule == "estimated"


def test_auto_passes_over_bills_of_few_answers_and_says_so() -> None:
    bills = torch.full((8, 2), NAN, dtype=torch.float64)
    bills[:3] = 0.25
    known = CostFacts(
        observed=torch.ones(8, 2, dtype=torch.bool),
        pair_cost=bills,
        output_tokens=torch.full((8, 2), 50.0, dtype=torch.float64),
        prompt_tokens=torch.full((8,), 10.0, dtype=torch.float64),
        price_in=torch.tensor([1.0, 2.0], dtype=torch.float64),
        price_out=torch.tensor([3.0, 4.0], dtype=torch.float64),
        params_b=torch.full((2,), NAN, dtype=torch.float64),
    )
    with pytest.warns(UserWarning, match=r"'auto': bills are known of 38% of the answers, too few .* 'estimated'"):
        assert cost_of("auto", known)[0].rule == "estimated"
    with pytest.warns(UserWarning, match=r"'billed': bills are known of 38% of the answers; costs are means"):
        assert cost_of("billed", known)[0].value.tolist() == [0.25, 0.25]
    bills[3] = 0.25
    assert cost_of("auto", known)[0].rule == "billed"
