import random
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.data.splits import split_table
from unirouter_torch.data.table import RoutingTable, TablePlaces, build_table
from unirouter_torch.errors import DataError

PLACES = TablePlaces("p.parquet", "m.parquet", "o.parquet")
PROMPTS: dict[str, Any] = {
    "prompt_id": ["p2", "p1"],
    "prompt": ["Name a river.", "2 + 2?"],
    "source": ["places", "sums"],
}
MODELS: dict[str, Any] = {
    "model_id": ["wren", "heron"],
    "price_in": [1.0, 4.0],
    "price_out": [2.0, 8.0],
    "host": ["north", "south"],
}
OUTCOMES: dict[str, Any] = {
    "prompt_id": ["p1", "p2", "p2"],
    "model_id": ["heron", "heron", "wren"],
    "score": [1.0, 0.25, 0.0],
    "cost_usd": [0.5, 0.25, 0.125],
}


def make_table(
    prompts: dict[str, Any] = PROMPTS,
    models: dict[str, Any] = MODELS,
    outcomes: dict[str, Any] = OUTCOMES,
    **settings: Any,
) -> RoutingTable:
    tables = (pa.table(part) for part in (prompts, models, outcomes))
    return build_table(*tables, name="birds", places=PLACES, **settings)


def random_parts(seed: int, num_prompts: int = 12, num_llms: int = 5) -> tuple[dict[str, Any], ...]:
    rng = random.Random(seed)
    prompts: dict[str, Any] = {
        "prompt_id": [f"p{row:02}" for row in range(num_prompts)],
        "prompt": [f"What is {rng.randrange(20)} squared?" for _ in range(num_prompts)],
    }
    models: dict[str, Any] = {
        "model_id": [f"llm{column}" for column in range(num_llms)],
        "params_b": [1.0 + c for c in range(num_llms)],
    }
    pairs = [
        (row, column) for row in range(num_prompts) for column in range(num_llms) if row == column or rng.random() < 0.7
    ]
    pairs += [(row, 0) for row in range(num_llms, num_prompts) if (row, 0) not in pairs]
    outcomes = {
        "prompt_id": [prompts["prompt_id"][row] for row, _ in pairs],
        "model_id": [models["model_id"][column] for _, column in pairs],
        "score": [rng.random() for _ in pairs],
    }
    return prompts, models, outcomes


def shuffled(part: dict[str, list[Any]], rng: random.Random) -> dict[str, list[Any]]:
    rows = list(range(len(next(iter(part.values())))))
    rng.shuffle(rows)
    return {name: [values[row] for row in rows] for name, values in part.items()}


def test_error_is_one_minus_score_in_its_own_cell() -> None:
    table = make_table()
    assert table.prompt_ids == ["p1", "p2"]
    assert table.llm_names == ["heron", "wren"]
    torch.testing.assert_close(table.error, torch.tensor([[0.0, 0.0], [0.75, 1.0]]))
    assert table.observed.tolist() == [[True, False], [True, True]]


def test_texts_and_sources_follow_their_prompt_ids() -> None:
    table = make_table()
    assert table.prompt_texts == ["2 + 2?", "Name a river."]
    assert table.sources == ["sums", "places"]


def test_source_is_unknown_where_not_given() -> None:
    assert make_table({**PROMPTS, "source": ["places", None]}).sources == ["unknown", "places"]
    assert make_table({name: PROMPTS[name] for name in ("prompt_id", "prompt")}).sources == ["unknown", "unknown"]


def test_pair_costs_are_kept_and_nan_where_unknown() -> None:
    pair_cost = make_table().pair_cost
    assert pair_cost is not None
    expected = torch.tensor([[0.5, torch.nan], [0.25, 0.125]], dtype=torch.float64)
    torch.testing.assert_close(pair_cost, expected, equal_nan=True)
    without = {name: values for name, values in OUTCOMES.items() if name != "cost_usd"}
    assert make_table(outcomes=without, cost_rule="list_price").pair_cost is None


def test_other_columns_of_the_llms_are_kept_in_their_rows() -> None:
    llms = make_table().llms
    assert llms["host"].to_pylist() == ["south", "north"]
    assert llms["price_out"].to_pylist() == [8.0, 2.0]
    assert llms["params_b"].to_pylist() == [None, None]


@given(st.integers(0, 2**32))
def test_every_cell_agrees_with_a_loop_over_the_outcomes(seed: int) -> None:
    rng = random.Random(seed)
    parts = random_parts(seed)
    table = make_table(*(shuffled(part, rng) for part in parts))
    outcomes = zip(*parts[2].values(), strict=True)
    score = {(prompt_id, model_id): value for prompt_id, model_id, value in outcomes}
    for row, prompt_id in enumerate(table.prompt_ids):
        for column, name in enumerate(table.llm_names):
            assert table.observed[row, column].item() == ((prompt_id, name) in score)
            expected = 1 - score.get((prompt_id, name), 1.0)
            assert table.error[row, column].item() == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 2**32))
def test_order_of_rows_changes_neither_content_nor_splits(seed: int) -> None:
    rng = random.Random(seed)
    parts = random_parts(seed, num_prompts=30)
    first, second = make_table(*parts), make_table(*(shuffled(part, rng) for part in parts))
    assert first.content_hash == second.content_hash
    splits = (
        split_table(table, seed=seed, unseen_fraction=0.4, prompt_fractions=(0.4, 0.3, 0.3))
        for table in (first, second)
    )
    for one, other in zip(*splits, strict=True):
        assert one.tolist() == other.tolist()


def test_types_and_chunks_of_the_columns_do_not_change_the_content() -> None:
    other = {
        "prompt_id": pa.chunked_array([["p1"], ["p2", "p2"]], pa.large_string()),
        "model_id": pa.array(OUTCOMES["model_id"]).dictionary_encode(),
        "score": pa.array(OUTCOMES["score"], pa.float32()),
        "cost_usd": pa.array(OUTCOMES["cost_usd"], pa.float32()),
        "output_tokens": pa.nulls(3),
    }
    assert make_table(outcomes=other).content_hash == make_table().content_hash


@pytest.mark.parametrize(
    ("part", "column", "values"),
    [
        ("outcomes", "score", [1.0, 0.5, 0.0]),
        ("outcomes", "cost_usd", [0.5, 0.25, 0.25]),
        ("outcomes", "prompt_id", ["p2", "p1", "p2"]),
        ("prompts", "prompt", ["Name a lake.", "2 + 2?"]),
        ("prompts", "source", ["maps", "sums"]),
        ("models", "model_id", ["wren", "egret"]),
    ],
)
def test_whatever_changes_the_task_changes_the_content_hash(part: str, column: str, values: list[Any]) -> None:
    parts = {"prompts": PROMPTS, "models": MODELS, "outcomes": OUTCOMES}
    parts[part] = {**parts[part], column: values}
    if column == "model_id":
        parts["outcomes"] = {**OUTCOMES, "model_id": ["egret", "egret", "wren"]}
    assert make_table(**parts).content_hash != make_table().content_hash


def test_groups_change_the_content_hash() -> None:
    grouped = make_table(same_llm=[["wren", "heron"]])
    assert grouped.group.tolist() == [0, 0]
    assert grouped.content_hash != make_table().content_hash


def test_prompts_without_outcome_are_left_out_with_a_warning() -> None:
    prompts = {name: [*values, "p0"] for name, values in PROMPTS.items()}
    with pytest.warns(UserWarning, match=r"p\.parquet: 1 of 3 prompts have no outcome"):
        table = make_table(prompts)
    assert table.prompt_ids == ["p1", "p2"]
    assert table.content_hash == make_table().content_hash


def test_llms_without_cost_leave_with_all_that_is_theirs() -> None:
    costs = [None, None, 0.125]
    with pytest.warns(UserWarning) as caught:
        table = make_table(outcomes={**OUTCOMES, "cost_usd": costs}, cost_rule="billed")
    assert [("heron" in str(item.message), "prompts" in str(item.message)) for item in caught] == [
        (True, False),
        (False, True),
    ]
    assert (table.llm_names, table.prompt_ids) == (["wren"], ["p2"])
    assert table.error.tolist() == [[1.0]]
    assert table.cost.value.tolist() == [0.125]
    assert table.llms["host"].to_pylist() == ["north"]


def test_describe_reports_sizes_coverage_and_cost() -> None:
    table = make_table()
    assert table.describe() == {
        "name": "birds",
        "content_hash": table.content_hash,
        "num_prompts": 2,
        "num_llms": 2,
        "observed_fraction": 0.75,
        "cost_rule": "billed",
        "cost_unit": "US dollars per prompt",
        "is_estimate": False,
    }


def test_groups_of_column_and_list_are_joined_and_null_stands_alone() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    models = {"model_id": names, "base": ["x", "x", None, None, "y", "z"], "params_b": [1.0] * 6}
    outcomes = {"prompt_id": ["p1"] * 6 + ["p2"], "model_id": [*names, "a"], "score": [1.0] * 7}
    table = make_table(models=models, outcomes=outcomes, group_column="base", same_llm=[["b", "e"], ["f", "d"], []])
    assert table.group.tolist() == [0, 0, 1, 2, 0, 2]
    assert make_table(models=models, outcomes=outcomes).group.tolist() == [0, 1, 2, 3, 4, 5]


def test_llm_group_is_the_column_of_groups_where_no_other_is_named() -> None:
    models = {"model_id": ["a-low", "a-high", "b"], "llm_group": ["a", "a", None], "params_b": [1.0] * 3}
    models |= {"base": ["x", "y", "y"]}
    outcomes = {"prompt_id": ["p1", "p1", "p1", "p2"], "model_id": [*models["model_id"], "b"], "score": [1.0] * 4}
    assert make_table(models=models, outcomes=outcomes).group.tolist() == [0, 0, 1]  # a-high, a-low, b
    assert make_table(models=models, outcomes=outcomes, group_column="base").group.tolist() == [0, 1, 0]


def without(part: dict[str, Any], column: str) -> dict[str, Any]:
    return {name: values for name, values in part.items() if name != column}


P, M, R = PROMPTS, MODELS, OUTCOMES
MALFORMED = {
    "no prompt_id": (without(P, "prompt_id"), M, R, "p.parquet: column 'prompt_id' is missing", "Add or rename"),
    "no prompt": (without(P, "prompt"), M, R, "p.parquet: column 'prompt' is missing", "Add or rename"),
    "no model_id": (P, without(M, "model_id"), R, "m.parquet: column 'model_id' is missing", "Add or rename"),
    "no score": (P, M, without(R, "score"), "o.parquet: column 'score' is missing", "Add or rename"),
    "no pair": (P, M, without(R, "model_id"), "o.parquet: column 'model_id' is missing", "Add or rename"),
    "null column": (P, M, {**R, "score": [None] * 3}, "o.parquet: column 'score' is missing or empty", "Add or rename"),
    "text score": (P, M, {**R, "score": ["1", "good", "1"]}, "o.parquet: column 'score', row 2: got 'good'", "Correct"),
    "strange text": ({**P, "prompt": [True, False]}, M, R, "p.parquet: column 'prompt', row 1: got True", "messages"),
    "text price": (P, {**M, "price_in": ["1", "two"]}, R, "m.parquet: column 'price_in', row 2: got 'two'", "Correct"),
    "prompt twice": (
        {**P, "prompt_id": ["p1", "p1"]},
        M,
        R,
        "p.parquet: column 'prompt_id', row 2: got 'p1'",
        "Remove",
    ),
    "llm twice": (
        P,
        {**M, "model_id": ["wren", "wren"]},
        R,
        "m.parquet: column 'model_id', row 2: got 'wren'",
        "Remove",
    ),
    "score above": (P, M, {**R, "score": [1.0, 1.01, 0.0]}, "o.parquet: column 'score', row 2: got 1.01", "[0, 1]"),
    "score below": (P, M, {**R, "score": [1.0, 0.0, -0.1]}, "o.parquet: column 'score', row 3: got -0.1", "[0, 1]"),
    "strange prompt": (
        P,
        M,
        {**R, "prompt_id": ["p1", "p2", "p9"]},
        "o.parquet: column 'prompt_id', row 3: got 'p9', expected one of those in p.parquet",
        "Add it there",
    ),
    "strange llm": (
        P,
        M,
        {**R, "model_id": ["heron", "crow", "wren"]},
        "o.parquet: column 'model_id', row 2: got 'crow', expected one of those in m.parquet",
        "Add it there",
    ),
    "no prompts": ({name: [] for name in P}, M, R, "p.parquet: got no rows", "Check that the file"),
    "no llms": (P, {name: [] for name in M}, R, "m.parquet: got no rows", "Check that the file"),
    "no outcomes": (P, M, {name: [] for name in R}, "o.parquet: got no rows", "Check that the file"),
    "idle llm": (
        P,
        M,
        {**R, "prompt_id": ["p1", "p2", "p3"], "model_id": ["heron"] * 3},
        "m.parquet: column 'model_id', row 1: got 'wren', expected an LLM with at least one outcome in o.parquet",
        "remove the LLM",
    ),
    "blank prompt": (
        {**P, "prompt": ["Hm?", " \n"]},
        M,
        R,
        "p.parquet: column 'prompt', row 2: got None",
        "Fill it in",
    ),
    "null prompt": ({**P, "prompt": [None, "Hm?"]}, M, R, "p.parquet: column 'prompt', row 1: got None", "Fill it in"),
    "negative price": (
        P,
        {**M, "price_out": [1.0, -1.0]},
        R,
        "m.parquet: column 'price_out', row 2: got -1.0",
        "Correct",
    ),
    "infinite size": (
        P,
        {**M, "params_b": [1.0, np.inf]},
        R,
        "m.parquet: column 'params_b', row 2: got inf",
        "Correct",
    ),
    "negative cost": (
        P,
        M,
        {**R, "cost_usd": [0.1, 0.1, -0.1]},
        "o.parquet: column 'cost_usd', row 3: got -0.1",
        "Correct",
    ),
    "negative length": (
        P,
        M,
        {**R, "output_tokens": [3, -1, 2]},
        "o.parquet: column 'output_tokens', row 2: got -1.0",
        "Correct",
    ),
}


def test_of_repeated_pairs_the_mean_counts_and_their_number_is_said() -> None:
    outcomes = {
        "prompt_id": ["p1", "p2", "p2", "p2"],
        "model_id": ["wren", "heron", "heron", "heron"],
        "score": [1.0, 1.0, 0.0, 0.5],
        "cost_usd": [0.5, 0.25, None, 0.75],
    }
    with pytest.warns(UserWarning, match=r"^o\.parquet: 2 of 4 outcomes repeat a prompt and an LLM; the mean"):
        table = make_table(outcomes=outcomes)
    assert table.error.tolist() == [[0.0, 0.0], [0.5, 0.0]]
    assert table.observed.tolist() == [[False, True], [True, False]]
    assert table.cost.value.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("nothing", [None, np.nan])
def test_outcomes_without_a_score_are_left_out_and_counted(nothing: float | None) -> None:
    outcomes = {"prompt_id": ["p1", "p2", "p2"], "model_id": ["wren", "wren", "heron"], "score": [nothing, 1.0, 0.5]}
    with pytest.warns(UserWarning) as said:
        table = make_table(outcomes=outcomes)
    assert "o.parquet: 1 of 3 rows have no score and are left out." in [str(one.message) for one in said]
    assert table.prompt_ids == ["p2"]
    assert table.error.tolist() == [[0.5, 0.0]]


def test_costs_that_are_not_a_number_are_unknown() -> None:
    table = make_table(outcomes={**OUTCOMES, "cost_usd": [0.5, np.nan, 0.25]}, cost_rule="billed")
    assert table.pair_cost is not None
    assert table.pair_cost.isnan().sum().item() == 2


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_table_is_refused_with_place_and_mend(case: str) -> None:
    prompts, models, outcomes, place, mend = MALFORMED[case]
    with pytest.raises(DataError, match=f"^{re.escape(place)}.*{re.escape(mend)}"):
        make_table(prompts, models, outcomes)


def test_two_columns_of_one_name_are_refused() -> None:
    prompts = pa.table([["p1"], ["Hm?"], ["Ha?"]], names=["prompt_id", "prompt", "prompt"])
    with pytest.raises(DataError, match=r"^p\.parquet: column 'prompt': got several .* Rename"):
        build_table(prompts, pa.table(MODELS), pa.table(OUTCOMES), name="birds", places=PLACES)


def test_text_that_is_not_utf8_is_refused() -> None:
    broken = pa.array([b"Hm?", b"\xff\xfe"], pa.binary()).view(pa.string())
    with pytest.raises(DataError, match=r"^p\.parquet: column 'prompt': expected UTF-8 .* Write the file in UTF-8"):
        make_table({**PROMPTS, "prompt": broken})


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(DataError) as caught:
        make_table({**PROMPTS, "prompt_id": ["p" * 5000] * 2})
    assert len(str(caught.value)) < 300


def test_unknown_names_of_groups_are_refused() -> None:
    with pytest.raises(DataError, match=r"^m\.parquet: got no column 'maker'; .* one of .*host"):
        make_table(group_column="maker")
    with pytest.raises(DataError, match=r"^data\.same_llm: got 'crow'.*m\.parquet.* Correct its spelling"):
        make_table(same_llm=[["wren", "crow"]])


def test_a_million_outcomes_are_joined() -> None:
    num_prompts, num_llms = 5000, 200
    rows = np.random.default_rng(0).permutation(num_prompts * num_llms)
    prompt_id = pa.array([f"p{row:04}" for row in range(num_prompts)])
    model_id = pa.array([f"llm{column:03}" for column in range(num_llms)])
    score = rows / len(rows)
    outcomes = {
        "prompt_id": prompt_id.take(pa.array(rows // num_llms)),
        "model_id": model_id.take(pa.array(rows % num_llms)),
        "score": score,
    }
    prompts = {"prompt_id": prompt_id, "prompt": prompt_id}
    table = make_table(prompts, {"model_id": model_id, "params_b": np.ones(num_llms)}, outcomes)
    assert table.observed.all()
    expected = 1 - torch.arange(len(rows)).view(num_prompts, num_llms) / len(rows)
    torch.testing.assert_close(table.error, expected)
