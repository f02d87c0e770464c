import json

import pytest
from matplotlib.figure import Figure

from unirouter_torch.metrics.deferral import DEFAULT_CONVENTION
from unirouter_torch.metrics.records import StressTrial
from unirouter_torch.metrics.stress_summary import summarise_stress
from unirouter_torch.reports.stress_figures import draw_stress
from unirouter_torch.reports.stress_report import StressReport

METHODS = ("random", "zero", "kmeans", "end_to_end", "oracle")
TABLE = {
    "name": "birds",
    "num_prompts": 1234,
    "num_llms": 7,
    "cost_unit": "seeds per prompt",
    "is_estimate": True,
}


def trials(levels, figures, num_trials=3, methods=METHODS):
    """Figures that fall from level to level, less for later methods, and a little from trial to trial."""
    return [
        StressTrial(
            seed=seed,
            levels={
                level: {
                    method: dict.fromkeys(figures, 0.9 - 0.1 * at * (1 - 0.15 * rank) - 0.01 * seed * (at + 1))
                    for rank, method in enumerate(methods)
                }
                for at, level in enumerate(levels)
            },
        )
        for seed in range(num_trials)
    ]


AREAS = ("area", "mean_squared_error")
GAPS = ("mean_gap", "expected_max_gap", "max_gap")
MADE = {
    "left_out_source": (("all sources", "other sources"), AREAS, METHODS),
    "flipped_labels": (("0%", "10%", "40%"), AREAS, METHODS),
    "disturbed_prompts": (("as they are", "typos", "padding"), AREAS, METHODS),
    "worst_source": (("undisturbed",), ("worst_source_regret",), METHODS),
    "stability": (("redrawn",), ("instability",), METHODS),
    "proposition_2": (
        ("5", "10", "100"),
        (*GAPS, *(f"{name}_floor" for name in GAPS), "gap_beyond_floor", "covered"),
        ("kmeans", "end_to_end"),
    ),
}


def made(name, num_trials=3):
    levels, figures, methods = MADE[name]
    return summarise_stress(name, trials(levels, figures, num_trials, methods), "end_to_end")


def report(*stresses):
    return StressReport(
        table=TABLE, num_calibration=50, stresses=list(stresses), reference="end_to_end", convention=DEFAULT_CONVENTION
    )


def rows(markdown, after):
    """Cells of the first table after some text."""
    lines = markdown[markdown.index(after) :].splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("| "))
    end = next((at for at in range(start, len(lines)) if not lines[at].startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end] if "---" not in line]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    return figures


# tables


def test_overview_has_a_row_for_each_method_and_two_narrow_tables():
    text = report(*map(made, MADE)).overview()
    first = rows(text, "Loss of area")
    assert first[0] == ["Method", "Left-out source", "Flipped labels: 40%"]
    assert [row[0] for row in first[1:]] == ["Random", "ZeroRouter", "UniRoute K-means", "End-to-end", "Oracle"]
    second = rows(text[text.index("| Oracle |") :].split("\n", 1)[1], "| Method")
    assert second[0] == ["Method", "Typos", "Padding", "Worst source's regret", "Spread of estimates"]
    assert len(second) == len(first)


def test_overview_shows_the_loss_at_the_strongest_level_with_its_sign():
    # random loses 0.1 a level, and 0.01 more in each further trial
    flipped = rows(report(made("flipped_labels")).overview(), "Loss")
    assert flipped[1] == ["Random", "+0.220*"]
    assert rows(report(made("left_out_source")).overview(), "Loss")[1] == ["Random", "+0.110*"]
    assert rows(report(made("stability")).overview(), "| Method")[1] == ["Random", "0.890"]


def test_one_trial_has_neither_interval_nor_star():
    text = report(made("flipped_labels", num_trials=1)).to_markdown()
    assert "0.200*" not in text and "| Random | +0.200 |" in text
    assert "1 trial." in text
    assert rows(text, "## Flipped")[-5][:4] == ["40%", "Random", "0.7000", "+0.2000"]


def test_each_stress_has_its_table_with_every_level_and_method():
    text = report(*map(made, MADE)).to_markdown()
    for name, (levels, figures, methods) in MADE.items():
        table = rows(text, f"]({name}.png)")
        assert len(table) == 1 + len(levels) * len(methods)
        assert all(len(row) == len(table[0]) for row in table)
        has_levels, num_contests = len(levels) > 1, sum(figure in ("area", "worst_source_regret") for figure in figures)
        num_losses = 1 if "area" in figures else 0
        contests = num_contests + num_losses + ("instability" in figures)
        assert len(table[0]) == has_levels + 1 + len(figures) + num_losses + contests
    flipped = rows(text, "](flipped_labels.png)")
    assert [row[0] for row in flipped[1:]] == [level for level in ("0%", "10%", "40%") for _ in METHODS]
    assert flipped[1][3] == ""
    assert flipped[-1][5:] == ["0 : 3, p = 0.25", "0 : 3, p = 0.25"]
    assert flipped[-2][5:] == ["", ""]


def test_a_stress_that_no_trial_allows_is_named_and_not_drawn(tmp_path):
    nothing = summarise_stress("wrong_sources", [StressTrial(seed=0)], "end_to_end")
    found = report(made("stability"), nothing)
    assert found.to_markdown().endswith("Not possible on this table, for lack of sources or prompts: Wrong sources.\n")
    found.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"stress.json", "stress.md", "stability.png"}
    assert json.loads((tmp_path / "stress.json").read_text())["stresses"]["wrong_sources"]["levels"] == {}
    assert report(nothing).overview().startswith("# Stress tests on birds")


# the sentence


def test_report_begins_with_the_worst_loss_of_the_router_and_a_constant_choice_beside_it():
    text = report(*map(made, MADE)).overview()
    says = (
        "End-to-end loses most area under flipped labels (40%): +0.1300 [+0.1100, +0.1500], 3 trials; a constant "
        "choice may do as well there: ZeroRouter has the smaller area in 3 trials and the larger in 0 (p = 0.25)."
    )
    assert text.splitlines()[2] == f"**{says}**"
    assert report(*map(made, MADE)).to_json()["headline"] == says


def test_constant_choice_is_judged_by_the_sign_test_and_may_be_missing():
    assert "does not do as well there" in report(made("flipped_labels", num_trials=9)).overview()
    alone = summarise_stress("flipped_labels", trials(("0%", "40%"), AREAS, 2, ("end_to_end",)), "end_to_end")
    assert report(alone).to_json()["headline"].endswith("2 trials; no constant choice was evaluated beside it.")


def test_nothing_is_said_where_no_stress_has_a_loss():
    assert report(made("stability")).to_json()["headline"] == ""
    assert report(made("stability")).overview().splitlines()[2].startswith("| Method")


# pictures


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("num_trials", [1, 3])
def test_each_stress_is_drawn_without_a_warning(name, num_trials):
    assert draw_stress(made(name, num_trials), table_name="birds").startswith(b"\x89PNG")


def test_lines_go_through_the_mean_areas_and_leave_out_what_stretches_the_axes(drawn):
    stress = made("flipped_labels")
    draw_stress(stress, table_name="birds")
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert set(lines) == {"ZeroRouter", "UniRoute K-means", "End-to-end"}
    expected = [stress.cells[level, "zero", "area"].mean for level in stress.levels]
    assert lines["ZeroRouter"] == pytest.approx(expected)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0%", "10%", "40%"]


def test_rows_have_the_best_method_on_top(drawn):
    for name, key in (("left_out_source", "loss"), ("worst_source", "worst_source_regret")):
        stress = made(name)
        draw_stress(stress, table_name="birds")
        (axes,) = drawn[-1].axes
        means = [float(points.get_children()[0].get_xdata()[0]) for points in axes.containers]
        expected = [cell.mean for (_, _, figure), cell in stress.cells.items() if figure == key]
        assert means == pytest.approx(sorted(expected, reverse=True))
        assert len(axes.get_yticklabels()) == len(METHODS)


def test_losses_of_disturbed_prompts_stand_at_their_level(drawn):
    stress = made("disturbed_prompts")
    draw_stress(stress, table_name="birds")
    (axes,) = drawn[0].axes
    line = next(points for points in axes.containers if points.get_label() == "ZeroRouter").get_children()[0]
    assert [round(at) for at in line.get_xdata().tolist()] == [0, 1]
    expected = [stress.cells[level, "zero", "loss"].mean for level in ("typos", "padding")]
    assert line.get_ydata().tolist() == pytest.approx(expected)


def test_gaps_are_drawn_with_their_floors_and_what_they_cover(drawn):
    draw_stress(made("proposition_2"), table_name="birds")
    labels = [len(axes.containers) for axes in drawn[0].axes]
    assert labels == [4, 4, 4, 2]
    assert [axes.get_ylabel() for axes in drawn[0].axes][-1] == "Share of the outcomes covered"
