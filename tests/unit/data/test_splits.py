from dataclasses import replace
from itertools import combinations
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.data.load import load_table
from unirouter_torch.data.splits import (
    Split,
    draw_calibration,
    prompts_that_represent,
    require_outcomes,
    split_table,
    warn_of_pool_of_one,
)
from unirouter_torch.data.table import RoutingTable, TablePlaces, build_table
from unirouter_torch.errors import ConfigError, DataError


def make_table(
    texts: list[str], num_llms: int = 12, bases: list[str | None] | None = None, **settings: Any
) -> RoutingTable:
    prompt_ids = [f"p{row:04}" for row in range(len(texts))]
    names = [f"llm{column:02}" for column in range(num_llms)]
    pairs = [(prompt_id, name) for prompt_id in prompt_ids for name in names]
    models: dict[str, Any] = {"model_id": names, "params_b": [1.0] * num_llms, "base": bases or [None] * num_llms}
    return build_table(
        pa.table({"prompt_id": prompt_ids, "prompt": texts}),
        pa.table(models),
        pa.table(
            {
                "prompt_id": [prompt_id for prompt_id, _ in pairs],
                "model_id": [name for _, name in pairs],
                "score": [1.0] * len(pairs),
            }
        ),
        name="lakes",
        places=TablePlaces("p", "m", "o"),
        **settings,
    )


def different(num_prompts: int) -> list[str]:
    return [f"How deep is lake {row}?" for row in range(num_prompts)]


TABLE = make_table(different(200))


def as_lists(split: Split) -> list[list[int]]:
    return [rows.tolist() for rows in split]


def assert_disjoint_cover(parts: list[list[int]], size: int) -> None:
    assert sorted(number for part in parts for number in part) == list(range(size))


@given(seed=st.integers(0, 2**40), unseen_fraction=st.floats(0.05, 0.8))
def test_sides_are_rising_disjoint_and_cover_the_table(seed: int, unseen_fraction: float) -> None:
    split = as_lists(split_table(TABLE, seed=seed, unseen_fraction=unseen_fraction))
    assert_disjoint_cover(split[:3], 200)
    assert_disjoint_cover(split[3:], 12)
    assert all(rows == sorted(rows) for rows in split)


def test_sizes_are_60_10_30_of_the_prompts_and_the_asked_share_of_llms() -> None:
    split = split_table(TABLE, seed=0, unseen_fraction=0.25)
    assert split.describe() == {
        "num_train_prompts": 120,
        "num_validation_prompts": 20,
        "num_test_prompts": 60,
        "num_seen_llms": 9,
        "num_unseen_llms": 3,
    }


def test_sizes_follow_the_asked_fractions_in_their_order() -> None:
    split = split_table(TABLE, seed=0, unseen_fraction=0.5, prompt_fractions=(0.2, 0.5, 0.3))
    assert [len(rows) for rows in split[:3]] == [40, 100, 60]


def test_split_is_the_same_for_the_same_content_and_seed() -> None:
    again = make_table(different(200))
    first = split_table(TABLE, seed=3, unseen_fraction=0.5)
    assert as_lists(first) == as_lists(split_table(again, seed=3, unseen_fraction=0.5))


def test_seeds_and_tables_differ_in_their_splits() -> None:
    splits = [as_lists(split_table(TABLE, seed=seed, unseen_fraction=0.5)) for seed in range(6)]
    splits.append(as_lists(split_table(make_table([*different(199), "How wide?"]), seed=0, unseen_fraction=0.5)))
    for one, other in combinations(splits, 2):
        assert one[0] != other[0]
    assert len({str(split[3]) for split in splits}) > 3


def test_every_prompt_and_llm_takes_each_side_at_some_seed() -> None:
    splits = [split_table(TABLE, seed=seed, unseen_fraction=0.5) for seed in range(120)]
    for number, size in enumerate([200, 200, 200, 12, 12]):
        assert set(torch.cat([split[number] for split in splits]).tolist()) == set(range(size))


BASES: list[str | None] = ["a", "a", "a", "b", "b", None, None, "c", "d", "e", "f", "g"]
JOINED = [["llm04", "llm07"], ["llm10", "llm11"]]
TOGETHER = [{0, 1, 2}, {3, 4, 7}, {10, 11}]


@given(seed=st.integers(0, 2**40), unseen_fraction=st.floats(0.1, 0.8))
def test_groups_are_never_parted_and_unseen_llms_never_exceed_their_share(seed: int, unseen_fraction: float) -> None:
    split = as_lists(split_table(GROUPED, seed=seed, unseen_fraction=unseen_fraction))
    assert_disjoint_cover(split[3:], 12)
    for members in TOGETHER:
        assert members <= set(split[3]) or members <= set(split[4])
    assert len(split[4]) <= round(unseen_fraction * 12)


GROUPED = make_table(different(20), bases=BASES, group_column="base", same_llm=JOINED)


def test_llms_without_group_are_parted_at_some_seed() -> None:
    unseen = [set(split_table(GROUPED, seed=seed, unseen_fraction=0.5).unseen_llms.tolist()) for seed in range(30)]
    assert any((5 in llms) != (6 in llms) for llms in unseen)


@given(seed=st.integers(0, 2**40))
def test_prompts_with_equal_text_fall_on_one_side(seed: int) -> None:
    sides = as_lists(split_table(REPEATED, seed=seed, unseen_fraction=0.5))[:3]
    texts = [{REPEATED.prompt_texts[row] for row in rows} for rows in sides]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]
    assert_disjoint_cover(sides, 90)


REPEATED = make_table([f"Who wrote poem {row % 30}?" for row in range(90)])


def test_pool_of_one_is_warned_of() -> None:
    alone, pair, everyone = (split_table(TABLE, seed=0, unseen_fraction=part) for part in (1 / 12, 2 / 12, 0.0))
    with pytest.warns(UserWarning, match=r"of 12 LLMs 1 is unseen.*unseen_fraction to 0"):
        warn_of_pool_of_one(TABLE, alone)
    for split in (pair, everyone):
        warn_of_pool_of_one(TABLE, split)


def test_unseen_fraction_0_is_the_static_pool() -> None:
    split = split_table(TABLE, seed=1, unseen_fraction=0.0)
    assert split.seen_llms.tolist() == split.unseen_llms.tolist() == list(range(12))


@pytest.mark.parametrize(
    ("num_texts", "num_prompts", "num_llms", "unseen_fraction"),
    [(2, 2, 12, 0.5), (1, 50, 12, 0.5), (50, 50, 2, 0.5), (50, 50, 4, 0.8), (50, 50, 12, 0.04)],
    ids=["few prompts", "one text", "two llms", "one seen", "none unseen"],
)
def test_table_too_small_for_a_side_is_refused(
    num_texts: int, num_prompts: int, num_llms: int, unseen_fraction: float
) -> None:
    table = make_table([f"Text {row % num_texts}" for row in range(num_prompts)], num_llms)
    with pytest.raises(DataError, match=r"^lakes: .* split into .* Add "):
        split_table(table, seed=0, unseen_fraction=unseen_fraction)


@pytest.mark.parametrize("fractions", [(0.6, 0.1, 0.2), (0.7, 0.0, 0.3), (1.1, -0.4, 0.3)])
def test_fractions_that_are_no_shares_are_refused(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="prompt_fractions"):
        split_table(TABLE, seed=0, unseen_fraction=0.5, prompt_fractions=fractions)


@pytest.mark.parametrize("unseen_fraction", [-0.1, 1.0])
def test_unseen_fraction_out_of_range_is_refused(unseen_fraction: float) -> None:
    with pytest.raises(ConfigError, match="unseen_fraction"):
        split_table(TABLE, seed=0, unseen_fraction=unseen_fraction)


@given(seed=st.integers(0, 2**40), sizes=st.lists(st.integers(1, 30), min_size=2, max_size=2))
def test_smaller_calibration_draw_is_part_of_the_larger_within_validation(seed: int, sizes: list[int]) -> None:
    split = split_table(TABLE, seed=5, unseen_fraction=0.5)
    small, large = (draw_calibration(split, num_prompts=size, seed=seed).tolist() for size in sorted(sizes))
    assert set(small) <= set(large) <= set(split.validation_prompts.tolist())
    assert [len(small), len(large)] == [min(size, 20) for size in sorted(sizes)]
    assert small == sorted(small)


@given(seed=st.integers(0, 2**40), num_calibration=st.integers(1, 30))
def test_seen_llms_are_known_by_all_their_outcomes_but_those_of_the_test(seed: int, num_calibration: int) -> None:
    split = split_table(TABLE, seed=seed, unseen_fraction=0.0)
    found = prompts_that_represent(split, num_calibration=num_calibration, seed=seed).tolist()
    assert found == sorted(found)
    assert set(found) == set(range(TABLE.num_prompts)) - set(split.test_prompts.tolist())


@given(seed=st.integers(0, 2**40), num_calibration=st.integers(1, 30))
def test_unseen_llms_are_known_by_drawn_validation_prompts_alone(seed: int, num_calibration: int) -> None:
    split = split_table(TABLE, seed=seed, unseen_fraction=0.5)
    found = prompts_that_represent(split, num_calibration=num_calibration, seed=seed)
    assert torch.equal(found, draw_calibration(split, num_prompts=num_calibration, seed=seed))


def test_calibration_draws_differ_between_seeds_and_repeat_at_one() -> None:
    split = split_table(TABLE, seed=5, unseen_fraction=0.5)
    draws = [draw_calibration(split, num_prompts=8, seed=seed).tolist() for seed in (0, 1, 2, 0)]
    assert draws[0] == draws[3]
    assert len({str(draw) for draw in draws}) == 3


def test_calibration_of_no_prompt_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_prompts"):
        draw_calibration(split_table(TABLE, seed=5, unseen_fraction=0.5), num_prompts=0, seed=0)


def test_part_of_a_split_without_outcomes_is_refused_by_the_table_alone() -> None:
    table = load_table("simulated:60x6")
    split = split_table(table, seed=0, unseen_fraction=0.34)
    require_outcomes(table, split, num_calibration=4, seed=0)
    observed = table.observed.clone()
    observed[split.validation_prompts[:, None], split.unseen_llms] = False
    with pytest.raises(DataError, match="the unseen LLMs have no outcome on the calibration prompts"):
        require_outcomes(replace(table, observed=observed), split, num_calibration=4, seed=0)
