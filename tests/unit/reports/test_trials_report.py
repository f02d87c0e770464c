import copy
import json
import random
import statistics

import pytest
from scipy.stats import binomtest

from unirouter_torch.reports.trials_report import TrialsReport, values_of
from unirouter_torch.reports.trials_tables import interval_cell


def with_values(report: TrialsReport, metric: str, values: dict[str, list[float | None]]) -> TrialsReport:
    """The same report with other values of one figure, one for each trial."""
    trials = copy.deepcopy(report.trials)
    for name, found in values.items():
        for trial, value in zip(trials, found, strict=True):
            trial.methods[name].figures[metric] = value
    return TrialsReport(
        table=report.table, trials=trials, sweeps=[], reference=report.reference, convention=report.convention
    )


def test_means_and_results_are_json(made_report: TrialsReport) -> None:
    found = json.loads(json.dumps(made_report.results, allow_nan=False))
    for name in made_report.method_names:
        areas = [trial.methods[name].figures["area"] for trial in made_report.trials]
        assert found["methods"][name]["area"] == pytest.approx(statistics.fmean(areas))
        low, high = found["intervals"][name]["area"]
        assert min(areas) <= low <= found["methods"][name]["area"] <= high <= max(areas)
    assert found["num_trials"] == 4
    assert list(found["sweeps"]["num_calibration"]) == ["10", "20"]


def test_qnc_that_is_never_reached_is_counted_and_not_averaged_away(made_report: TrialsReport) -> None:
    costs: dict[str, list[float | None]] = {"knn": [0.2, None, 0.6, None], "zero": [None] * 4, "mlp": [0.1] * 4}
    report = with_values(made_report, "quality_neutral_cost", costs)
    found = report.results
    assert [found["quality_neutral_cost_reached"][name] for name in costs] == [2, 0, 4]
    assert found["methods"]["knn"]["quality_neutral_cost"] == pytest.approx(0.4)
    assert found["methods"]["zero"]["quality_neutral_cost"] is None
    assert found["intervals"]["zero"]["quality_neutral_cost"] is None
    assert values_of(report.trials, "knn", "quality_neutral_cost") == [0.2, 0.6]
    figures = report.to_markdown().split("against each method")[0]
    assert [line.split("|")[1].strip() for line in figures.splitlines() if line.count("not reached") == 1] == [
        "ZeroRouter"
    ]
    assert [line.split("|")[1].strip() for line in figures.splitlines() if "(2 of 4 trials)" in line] == ["K-NN"]


def test_qnc_that_is_never_reached_loses_to_any_that_is(made_report: TrialsReport) -> None:
    ours: list[float | None] = [0.9, None, 0.5, None]
    theirs: list[float | None] = [None, 0.1, 0.6, None]
    report = with_values(made_report, "quality_neutral_cost", {"end_to_end": ours, "knn": theirs})
    found = report.results["comparison"]["methods"]["knn"]["quality_neutral_cost"]
    assert (found["wins"], found["losses"]) == (2, 1)
    assert found["difference"] == pytest.approx(-0.1)  # only the trial in which both reach it
    assert found["sign_test_p"] == pytest.approx(binomtest(2, 3).pvalue)


@pytest.mark.parametrize(("metric", "sign"), [("area", 1), ("mean_squared_error", -1), ("quality_neutral_cost", -1)])
def test_wins_losses_and_p_are_those_of_a_loop(made_report: TrialsReport, metric: str, sign: int) -> None:
    draw = random.Random(metric)
    ours, theirs = ([round(draw.random(), 1) for _ in made_report.trials] for _ in range(2))
    ours[0] = theirs[0]  # a tie counts for nobody
    found = with_values(made_report, metric, {"end_to_end": ours, "mlp": theirs}).results["comparison"]["methods"][
        "mlp"
    ][metric]
    wins = sum(sign * mine > sign * other for mine, other in zip(ours, theirs, strict=True))
    losses = sum(sign * mine < sign * other for mine, other in zip(ours, theirs, strict=True))
    assert (found["wins"], found["losses"]) == (wins, losses)
    assert found["sign_test_p"] == pytest.approx(binomtest(wins, wins + losses).pvalue if wins + losses else 1.0)
    mean = statistics.fmean(mine - other for mine, other in zip(ours, theirs, strict=True))
    assert found["difference"] == pytest.approx(mean)


def test_reference_is_compared_with_all_but_itself(made_report: TrialsReport) -> None:
    assert list(made_report.results["comparison"]["methods"]) == ["zero", "knn", "mlp", "oracle"]
    assert "| End-to-end |" not in made_report.to_markdown().split("against each method")[1].split("Area by")[0]


def test_single_value_has_no_interval() -> None:
    assert interval_cell([0.25]).to_markdown() == "0.2500"
    assert interval_cell([0.25, 0.75]).to_markdown().startswith("0.5000 [")
