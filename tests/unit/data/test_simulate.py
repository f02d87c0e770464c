"""The embedded default data: laws of the tables, and of the world that they are drawn from."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from unirouter_torch.data.simulate import simulate_tables
from unirouter_torch.data.simulate.families import FAMILIES, SimulatedPrompts, draw_prompts
from unirouter_torch.data.simulate.llms import CATALOGUE, choose_from_catalogue
from unirouter_torch.data.simulate.pen import Pen
from unirouter_torch.errors import DataError


class Simulated(NamedTuple):
    prompts: pa.Table
    llms: pa.Table
    outcomes: pa.Table
    score: np.ndarray  # prompt by LLM, NaN where unobserved
    cost: np.ndarray
    source: np.ndarray


def simulate(**settings: int) -> Simulated:
    prompts, llms, outcomes = simulate_tables(**settings)
    rows = {name: i for i, name in enumerate(prompts["prompt_id"].to_pylist())}
    columns = {name: i for i, name in enumerate(llms["model_id"].to_pylist())}
    row = [rows[name] for name in outcomes["prompt_id"].to_pylist()]
    column = [columns[name] for name in outcomes["model_id"].to_pylist()]
    score, cost = np.full((2, prompts.num_rows, llms.num_rows), np.nan)
    score[row, column] = outcomes["score"].to_numpy()
    cost[row, column] = outcomes["cost_usd"].to_numpy()
    return Simulated(prompts, llms, outcomes, score, cost, np.array(prompts["source"].to_pylist()))


@pytest.fixture(scope="module")
def world() -> Simulated:
    return simulate()


@pytest.fixture(scope="module")
def by_family(world: Simulated) -> np.ndarray:
    """Mean score of each LLM in each family of prompts, families in rows."""
    return np.stack([np.nanmean(world.score[world.source == name], axis=0) for name in np.unique(world.source)])


def test_same_seed_gives_equal_tables() -> None:
    first, second = (simulate_tables(num_prompts=100, num_llms=8, seed=3) for _ in range(2))
    assert all(a.equals(b) for a, b in zip(first, second, strict=True))


def test_another_seed_gives_other_prompts_and_outcomes() -> None:
    prompts, llms, outcomes = simulate_tables(num_prompts=100, num_llms=8, seed=3)
    other_prompts, other_llms, other_outcomes = simulate_tables(num_prompts=100, num_llms=8, seed=4)
    assert not prompts["prompt"].equals(other_prompts["prompt"])
    assert not outcomes["score"].equals(other_outcomes["score"])
    assert llms.equals(other_llms)


def test_default_is_seed_0_with_6000_prompts_and_48_llms(world: Simulated) -> None:
    assert world.score.shape == (6000, 48)
    assert world.prompts.equals(simulate_tables(num_llms=6, seed=0)[0])


def test_ids_and_texts_of_prompts_are_distinct(world: Simulated) -> None:
    for column in ("prompt_id", "prompt"):
        assert len(set(world.prompts[column].to_pylist())) == 6000


def test_even_20000_prompts_are_distinct() -> None:
    assert len(set(draw_prompts(20_000, np.random.default_rng(5)).text)) == 20_000


def test_no_prompt_shows_an_unfilled_place(world: Simulated) -> None:
    assert not [text for text in world.prompts["prompt"].to_pylist() if "{" in text or "}" in text]


def test_mean_prompt_length_is_about_35_tokens(world: Simulated) -> None:
    mean_characters = np.mean([len(text) for text in world.prompts["prompt"].to_pylist()])
    assert mean_characters / 4 == pytest.approx(35, abs=4)


def test_families_are_equally_frequent(world: Simulated) -> None:
    names, counts = np.unique(world.source, return_counts=True)
    assert set(names) == {f"simulated/{family.name}" for family in FAMILIES}
    assert counts.max() - counts.min() <= 1


def test_skill_shares_of_each_family_sum_to_one() -> None:
    assert [sum(family.skills.values()) for family in FAMILIES] == pytest.approx([1.0] * len(FAMILIES))


def test_scores_are_binary_or_tenths_by_family(world: Simulated) -> None:
    for family in FAMILIES:
        score = world.score[world.source == f"simulated/{family.name}"]
        values = set(score[~np.isnan(score)].tolist())
        assert values == ({i / 10 for i in range(11)} if family.is_graded else {0.0, 1.0})
    assert {family.is_graded for family in FAMILIES} == {False, True}


def test_about_3_percent_of_pairs_are_unobserved_and_none_is_repeated(world: Simulated) -> None:
    observed = ~np.isnan(world.score)
    assert observed.sum() == world.outcomes.num_rows
    assert observed.mean() == pytest.approx(0.97, abs=0.002)
    assert observed.mean(axis=0).min() > 0.95


def test_billed_cost_is_prompt_and_answer_at_list_price(world: Simulated) -> None:
    text = dict(zip(world.prompts["prompt_id"].to_pylist(), world.prompts["prompt"].to_pylist(), strict=True))
    llms = {llm["model_id"]: llm for llm in world.llms.to_pylist()}
    for outcome in world.outcomes.slice(0, 500).to_pylist():
        llm = llms[outcome["model_id"]]
        dollars = len(text[outcome["prompt_id"]]) / 4 * llm["price_in"] + outcome["output_tokens"] * llm["price_out"]
        assert outcome["cost_usd"] == pytest.approx(dollars / 1e6, abs=1e-9)


def test_costs_and_answer_lengths_are_positive(world: Simulated) -> None:
    assert np.nanmin(world.cost) > 0
    assert min(world.outcomes["output_tokens"].to_pylist()) >= 1


def test_prices_and_mean_costs_span_more_than_30_times(world: Simulated) -> None:
    for price in (world.llms["price_in"].to_numpy(), world.llms["price_out"].to_numpy(), np.nanmean(world.cost, 0)):
        assert price.max() / price.min() >= 30


def test_offers_of_one_base_llm_answer_more_alike_than_other_pairs(by_family: np.ndarray) -> None:
    base, effort = [llm.base_llm for llm in CATALOGUE], [llm.thought_tokens for llm in CATALOGUE]
    pairs = [(i, j) for i in range(len(base)) for j in range(i)]
    gap = {(i, j): np.abs(by_family[:, i] - by_family[:, j]).mean() for i, j in pairs}
    same = [gap[i, j] for i, j in pairs if base[i] == base[j]]
    hosts = [gap[i, j] for i, j in pairs if base[i] == base[j] and effort[i] == effort[j]]
    other = [gap[i, j] for i, j in pairs if base[i] != base[j]]
    assert hosts and max(hosts) < 0.05
    assert len(same) > len(hosts) and np.mean(same) < np.mean(other) / 2


def test_offers_at_two_prices_share_luck(world: Simulated) -> None:
    llms = world.llms.to_pylist()
    turbo = next(i for i, llm in enumerate(llms) if llm["model_id"].endswith("-turbo"))
    plain = next(i for i, llm in enumerate(llms) if llm["model_id"] == llms[turbo]["base_llm"])
    accuracy = np.nanmean(world.score, axis=0)
    stranger = next(
        i for i in np.argsort(np.abs(accuracy - accuracy[turbo])) if llms[i]["base_llm"] != llms[turbo]["base_llm"]
    )
    agreement = [np.nanmean(world.score[:, turbo] == world.score[:, i]) for i in (plain, stranger)]
    assert agreement[0] > agreement[1] + 0.02


@pytest.fixture(scope="module")
def drawn(world: Simulated) -> SimulatedPrompts:
    """The prompts of the tables with their hardness; the first of the seed's four streams writes them."""
    prompts = draw_prompts(world.prompts.num_rows, np.random.default_rng(0).spawn(4)[0])
    assert prompts.text == world.prompts["prompt"].to_pylist()
    return prompts


@pytest.mark.parametrize("family", range(len(FAMILIES)), ids=[family.name for family in FAMILIES])
def test_prompts_that_read_harder_have_larger_mean_error(
    world: Simulated, drawn: SimulatedPrompts, family: int
) -> None:
    rows = np.flatnonzero(drawn.family == family)
    thirds = np.array_split(rows[np.argsort(drawn.hardness[rows])], 3)
    easy, middle, hard = (1 - np.nanmean(world.score[third]) for third in thirds)
    assert easy + 0.05 < middle < hard - 0.05


def test_mean_accuracies_are_spread_from_weak_to_strong(world: Simulated) -> None:
    accuracy = np.sort(np.nanmean(world.score, axis=0))
    assert 0.18 < accuracy[0] < 0.32
    assert 0.88 < accuracy[-1] < 0.97
    assert np.diff(accuracy).max() < 0.1


def test_no_llm_is_best_in_every_family(by_family: np.ndarray) -> None:
    assert len(set(by_family.argmax(axis=1).tolist())) >= 3


def test_dearest_llm_is_not_best_everywhere(world: Simulated, by_family: np.ndarray) -> None:
    dearest = np.nanmean(world.cost, axis=0).argmax()
    assert (by_family[:, dearest] < by_family.max(axis=1) - 0.01).any()


def test_smallest_size_has_all_families_and_a_spread_of_prices() -> None:
    small = simulate(num_prompts=60, num_llms=6)
    assert small.score.shape == (60, 6)
    assert len(np.unique(small.source)) == len(FAMILIES)
    prices = small.llms["price_out"].to_numpy()
    assert prices.max() / prices.min() >= 30
    assert (~np.isnan(small.score)).any(axis=0).all()


def test_chosen_llms_are_distinct_and_reach_from_cheapest_to_dearest() -> None:
    for count in range(6, len(CATALOGUE) + 1):
        chosen = choose_from_catalogue(count)
        assert len(set(chosen)) == count
        assert (chosen[0], chosen[-1]) == (0, len(CATALOGUE) - 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_prompts", 59), ("num_prompts", 20_001), ("num_llms", 5), ("num_llms", 49), ("seed", -1)],
)
def test_argument_out_of_range_is_named(name: str, value: int) -> None:
    with pytest.raises(DataError, match=f"{name} is {value}, expected"):
        simulate_tables(**{name: value})


def test_exhausted_family_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pen, "integer", lambda pen, low, high: low)
    with pytest.raises(DataError, match="no new text in the family"):
        draw_prompts(20_000, np.random.default_rng(0))
