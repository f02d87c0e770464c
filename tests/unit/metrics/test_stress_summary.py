from dataclasses import replace

import pytest

from unirouter_torch.metrics.records import StressTrial
from unirouter_torch.metrics.statistics import bootstrap_mean, sign_test
from unirouter_torch.metrics.stress_summary import COMPARED, FIGURES, HIGHER_IS_BETTER, summarise_stress


def trial(seed, ours, theirs, **more):
    """Areas of two methods at three levels; squared errors that are their halves."""
    levels = {
        level: {name: {"area": areas[at], "mean_squared_error": areas[at] / 2} for name, areas in methods.items()}
        for at, level in enumerate(("none", "some", "much"))
        for methods in ({"kmeans": theirs, "end_to_end": ours},)
    }
    return StressTrial(**{"seed": seed, "levels": levels, "about": {"source": f"s{seed}"}} | more)


TRIALS = [
    trial(0, ours=(0.9, 0.8, 0.7), theirs=(0.8, 0.75, 0.5)),
    trial(1, ours=(0.8, 0.8, 0.5), theirs=(0.9, 0.85, 0.7)),
    trial(2, ours=(0.7, 0.6, 0.6), theirs=(0.6, 0.55, 0.5)),
]
EMPTY = StressTrial(seed=3)


def summary(trials, reference="end_to_end"):
    return summarise_stress("flipped_labels", trials, reference)


def test_cells_hold_mean_and_interval_of_the_trials():
    found = summary(TRIALS)
    assert found.levels == ["none", "some", "much"]
    assert found.methods == ["kmeans", "end_to_end"]
    assert found.cells["some", "kmeans", "area"][:3] == bootstrap_mean([0.75, 0.85, 0.55])
    assert found.cells["much", "end_to_end", "mean_squared_error"].mean == pytest.approx((0.7 + 0.5 + 0.6) / 6)


def test_loss_is_the_first_area_minus_the_later_one_within_each_trial():
    found = summary(TRIALS)
    expected = bootstrap_mean([0.8 - 0.5, 0.9 - 0.7, 0.6 - 0.5])
    assert expected.mean == pytest.approx(0.2)
    assert found.cells["much", "kmeans", "loss"][:3] == pytest.approx(expected)
    assert ("none", "kmeans", "loss") not in found.cells


def test_the_reference_wins_by_larger_areas_and_smaller_losses():
    cells = summary(TRIALS).cells
    assert cells["none", "kmeans", "area"][3:] == (2, 1, sign_test([1.0, -1.0, 1.0]))
    assert cells["much", "kmeans", "area"][3:] == (2, 1, sign_test([1.0, -1.0, 1.0]))
    assert summary(TRIALS[:1]).cells["much", "kmeans", "loss"][3:5] == (1, 0)
    assert summary(TRIALS[1:2]).cells["much", "kmeans", "loss"][3:5] == (0, 1)


def test_turning_the_comparison_round_turns_wins_into_losses():
    ours, theirs = summary(TRIALS).cells, summary(TRIALS, reference="kmeans").cells
    for (level, method, figure), cell in ours.items():
        if method == "kmeans":
            turned = theirs[level, "end_to_end", figure]
            assert (cell.wins, cell.losses) == (turned.losses, turned.wins)
            assert cell.sign_test_p == turned.sign_test_p
        else:
            assert (cell.wins, cell.losses, cell.sign_test_p) == (0, 0, 1.0)


def test_trials_that_do_not_allow_the_stress_are_left_out():
    found = summary([*TRIALS, EMPTY])
    assert found.cells == summary(TRIALS).cells
    assert found.trials == [{"seed": seed, "about": {"source": f"s{seed}"}} for seed in range(3)]
    assert found.count_trials() == "3 trials"
    assert summary(TRIALS[:1]).count_trials() == "1 trial"
    nothing = summary([EMPTY])
    assert (nothing.cells, nothing.levels, nothing.methods, nothing.trials) == ({}, [], [], [])


def test_a_level_that_some_trials_lack_is_summarised_over_the_others():
    short = replace(TRIALS[2], levels={level: TRIALS[2].levels[level] for level in ("none", "some")})
    cells = summary([*TRIALS[:2], short]).cells
    assert cells["much", "kmeans", "area"].mean == pytest.approx(0.6)
    assert cells["much", "kmeans", "area"][3:5] == (1, 1)
    assert cells["some", "kmeans", "area"][3:5] == (2, 1)


def test_json_holds_contests_only_where_the_reference_is_compared():
    content = summary(TRIALS).to_json()
    assert list(content["levels"]) == ["none", "some", "much"]
    some = content["levels"]["some"]
    assert set(some["kmeans"]["area"]) == {"mean", "low", "high", "wins", "losses", "sign_test_p"}
    for figures in (some["kmeans"]["mean_squared_error"], some["end_to_end"]["area"]):
        assert set(figures) == {"mean", "low", "high"}


def test_figures_come_in_one_order_whatever_the_order_of_the_trials():
    assert summary(TRIALS).figures == ["area", "loss", "mean_squared_error"]
    assert set(COMPARED) <= set(FIGURES)
    assert all(name in HIGHER_IS_BETTER for name in FIGURES if FIGURES[name].endswith("↑"))
    assert not any(name in HIGHER_IS_BETTER for name in FIGURES if FIGURES[name].endswith("↓"))
