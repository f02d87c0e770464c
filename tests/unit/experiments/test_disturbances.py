import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.data.splits import Split
from unirouter_torch.experiments.disturbances import (
    DISTURBANCES,
    MIN_TEST_PROMPTS_OF_A_SOURCE,
    choose_source,
    disturb_texts,
    draw_pairs,
    drop_outcomes,
    flip_outcomes,
    instability,
    keep_half_of_sources,
    leave_out_source,
    share_of,
    spare_one_for_each_llm,
    thin_split,
)
from unirouter_torch.experiments.stress_tests import STRESS_TESTS
from unirouter_torch.reports.stresses import STRESSES
from unirouter_torch.routing.outcomes import Outcomes


def made_outcomes(density=0.7, num_prompts=40, num_llms=6):
    generator = torch.Generator().manual_seed(3)
    error = torch.rand(num_prompts, num_llms, generator=generator)
    return Outcomes(
        torch.zeros(num_prompts, 2), error, torch.rand(num_prompts, num_llms, generator=generator) < density
    )


def made_split():
    """100 prompts of sources 0 to 4, source s in every row of remainder s."""
    order = torch.randperm(100, generator=torch.Generator().manual_seed(5))
    parts = (part.sort().values for part in order.split([60, 25, 15]))
    return Split(*parts, torch.arange(4), torch.arange(4, 6)), torch.arange(100) % 5


def test_every_stress_that_is_run_is_explained_and_the_other_way_round():
    assert list(STRESS_TESTS) == list(STRESSES)


# pairs


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 9))
def test_drawn_pairs_are_candidates_of_the_wanted_number_and_part_of_every_larger_draw(number, other, seed):
    candidates = made_outcomes().observed
    drawn, more = draw_pairs(candidates, number, seed), draw_pairs(candidates, max(number, other), seed)
    assert int(drawn.sum()) == min(number, int(candidates.sum()))
    assert not (drawn & ~candidates).any()
    assert not (drawn & ~more).any()


def test_each_candidate_is_drawn_equally_often():
    candidates = torch.tensor([[True, False, True], [True, True, False], [False, True, True]])
    count = sum(draw_pairs(candidates, 2, seed).long() for seed in range(1200))
    assert (count[~candidates] == 0).all()
    # binomial of 1200 draws at 1/3: four standard deviations
    assert (count[candidates] - 400).abs().max() < 4 * math.sqrt(1200 * 2 / 9)


@pytest.mark.parametrize("seed", range(5))
def test_each_llm_is_spared_one_observed_outcome_and_no_other_is_touched(seed):
    observed = made_outcomes(density=0.3).observed
    observed[:, 2] = False
    observed[:, 4] = False
    observed[7, 4] = True
    may_go = spare_one_for_each_llm(observed, seed)
    assert not (may_go & ~observed).any()
    assert (observed.sum(0) - may_go.sum(0)).tolist() == [1, 1, 0, 1, 1, 1]


def test_the_spared_outcome_is_another_one_at_another_seed():
    observed = torch.ones(20, 1, dtype=torch.bool)
    spared = {int((~spare_one_for_each_llm(observed, seed)).nonzero()[0, 0]) for seed in range(30)}
    assert len(spared) > 10


def test_flipping_takes_the_errors_of_the_pairs_from_one_and_twice_restores_them():
    outcomes = made_outcomes()
    pairs = draw_pairs(outcomes.observed, 50, seed=1)
    flipped = flip_outcomes(outcomes, pairs)
    for row in range(40):
        for llm in range(6):
            before, after = float(outcomes.error[row, llm]), float(flipped.error[row, llm])
            assert after == pytest.approx(1 - before if pairs[row, llm] else before)
    assert torch.equal(flipped.observed, outcomes.observed)
    torch.testing.assert_close(flip_outcomes(flipped, pairs).error, outcomes.error)


def test_dropped_outcomes_are_not_observed_and_the_rest_is():
    outcomes = made_outcomes()
    pairs = draw_pairs(outcomes.observed, 50, seed=1)
    dropped = drop_outcomes(outcomes, pairs)
    assert int(dropped.observed.sum()) == int(outcomes.observed.sum()) - 50
    assert torch.equal(dropped.observed | pairs, outcomes.observed)
    assert torch.equal(dropped.error, outcomes.error)


def test_a_share_counts_observed_pairs_alone():
    observed = torch.zeros(10, 4, dtype=torch.bool)
    observed[:, :2] = True
    assert [share_of(observed, share) for share in (0.0, 0.1, 0.9, 1.0)] == [0, 2, 18, 20]


# sources


def test_seeds_in_a_row_leave_out_each_large_source_in_turn():
    sizes = {3: MIN_TEST_PROMPTS_OF_A_SOURCE, 1: MIN_TEST_PROMPTS_OF_A_SOURCE - 1, 8: 50, 5: 21}
    source = torch.cat([torch.full((size,), number) for number, size in sizes.items()])
    assert [choose_source(source, seed) for seed in range(6)] == [3, 5, 8, 3, 5, 8]


def test_no_source_is_left_out_where_all_are_small_or_there_is_only_one():
    small = torch.arange(4).repeat(MIN_TEST_PROMPTS_OF_A_SOURCE - 1)
    assert choose_source(small, 0) is None
    assert choose_source(torch.zeros(100, dtype=torch.long), 0) is None


def test_a_left_out_source_is_missing_from_training_and_validation_and_nothing_else_is():
    split, source = made_split()
    without = leave_out_source(split, source, 2)
    for name in ("train_prompts", "validation_prompts"):
        expected = [row for row in getattr(split, name).tolist() if row % 5 != 2]
        assert getattr(without, name).tolist() == expected
    assert without._replace(train_prompts=split.train_prompts, validation_prompts=split.validation_prompts) == split


def test_a_thinned_split_is_as_small_as_its_model_and_drawn_from_everything():
    split, source = made_split()
    without = leave_out_source(split, source, 2)
    thinned = thin_split(split, without, seed=0)
    for name in ("train_prompts", "validation_prompts"):
        rows = getattr(thinned, name).tolist()
        assert len(rows) == len(getattr(without, name)) < len(getattr(split, name))
        assert rows == sorted(set(rows) & set(getattr(split, name).tolist()))
        assert any(row % 5 == 2 for row in rows)
    assert thinned.test_prompts is split.test_prompts
    assert thin_split(split, without, seed=1).train_prompts.tolist() != thinned.train_prompts.tolist()


@pytest.mark.parametrize("seed", range(8))
def test_half_of_the_sources_keep_all_their_validation_prompts_and_the_others_none(seed):
    split, source = made_split()
    half = keep_half_of_sources(split, source, seed)
    kept = {row % 5 for row in half.validation_prompts.tolist()}
    assert len(kept) == 2
    assert half.validation_prompts.tolist() == [row for row in split.validation_prompts.tolist() if row % 5 in kept]
    assert half.train_prompts is split.train_prompts


def test_another_seed_keeps_other_sources_and_one_source_cannot_be_halved():
    split, source = made_split()
    halves = [keep_half_of_sources(split, source, seed).validation_prompts for seed in range(20)]
    assert {row % 5 for rows in halves for row in rows.tolist()} == {0, 1, 2, 3, 4}
    assert keep_half_of_sources(split, torch.zeros_like(source), 0) is None


# texts


def test_typos_leave_out_and_swap_one_character_in_forty_each():
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))
    (typed,) = disturb_texts([text], "typos", seed=0)
    assert 20_000 - len(typed) == pytest.approx(500, abs=90)
    swapped = [at for at in range(len(typed) - 1) if typed[at] > typed[at + 1]]
    assert len(swapped) == pytest.approx(500, abs=90)
    restored = list(typed)
    for at in swapped:
        restored[at], restored[at + 1] = restored[at + 1], restored[at]
    assert restored == sorted(set(typed))


@given(st.text(max_size=80), st.integers(0, 20))
def test_disturbed_texts_are_what_their_level_says(text, seed):
    upper, padded, half = (disturb_texts([text], kind, seed)[0] for kind in ("upper case", "padding", "first half"))
    assert upper == text.upper()
    assert padded.count(text) >= 1 and not padded.startswith(text + " ") and len(padded) > len(text) + 100
    assert text.startswith(half) and len(half) == (len(text) + 1) // 2
    (typed,) = disturb_texts([text], "typos", seed)
    assert len(typed) <= len(text) and not set(typed) - set(text)


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_texts_are_disturbed_one_by_one_in_their_order_and_the_same_way_each_time(kind):
    texts = [f"Prompt number {number}: how many birds sit on the {number}th wire?" for number in range(30)]
    disturbed = disturb_texts(texts, kind, seed=4)
    assert disturbed == disturb_texts(texts, kind, seed=4)
    assert len(disturbed) == len(texts) and disturbed != texts
    assert disturbed[:10] == disturb_texts(texts[:10], kind, seed=4)


# spread


def test_instability_is_the_mean_standard_deviation_of_the_observed_pairs():
    generator = torch.Generator().manual_seed(0)
    estimates, observed = torch.rand(5, 8, 3, generator=generator), torch.rand(8, 3, generator=generator) < 0.6
    pairs = observed.nonzero().tolist()
    expected = statistics.mean(statistics.stdev(estimates[:, row, llm].tolist()) for row, llm in pairs)
    assert instability(estimates, observed) == pytest.approx(expected)
    assert instability(estimates[:1].expand(5, -1, -1), observed) == 0.0
