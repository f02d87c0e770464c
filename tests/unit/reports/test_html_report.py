"""The page as text and its figures as data; tests/integration/test_report_page.py opens it in a browser."""

import copy
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from unirouter_torch.metrics.records import EmbeddingCost
from unirouter_torch.metrics.stages import StageCost
from unirouter_torch.reports import html_figures
from unirouter_torch.reports.html_figures import (
    curves_figure,
    reliability_figure,
    shares_figure,
    sources_figure,
    sweep_figure,
)
from unirouter_torch.reports.html_report import render_html
from unirouter_torch.reports.trials_report import TrialsReport

HEADINGS = [
    "Results",
    "Deferral curves",
    "Sweeps",
    "Share of prompts per LLM",
    "Worst sources first",
    "Calibration of the estimates",
    "Time and memory",
]


def page_of(report: TrialsReport) -> str:
    return render_html(report).replace(get_plotlyjs(), "")


def tables_of(page: str) -> list[dict[str, list[str]]]:
    """Cells by the name of the row, of each table."""
    return [
        {
            name: re.findall("<td>(.*?)</td>", cells, re.S)
            for name, cells in re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table, re.S)
        }
        for table in re.findall("<table>(.*?)</table>", page, re.S)
    ]


def data_of(figure: go.Figure | None) -> list[dict[str, Any]]:
    """Traces as the page gets them."""
    assert figure is not None
    traces: list[dict[str, Any]] = json.loads(figure.to_json())["data"]
    return traces


def lines_of(figure: go.Figure) -> dict[str, dict[str, Any]]:
    return {trace["legendgroup"]: trace for trace in data_of(figure) if "legendgroup" in trace and "name" in trace}


def test_every_part_has_a_heading_and_a_link(made_report: TrialsReport) -> None:
    page = page_of(made_report)
    assert re.findall("<h2>(.*?)</h2>", page) == HEADINGS
    assert re.findall('<a href="#.*?">(.*?)</a>', page) == HEADINGS


def test_text_of_the_data_is_escaped(made_report: TrialsReport) -> None:
    page = page_of(made_report)
    assert "made &lt;script&gt;: unseen LLMs" in page
    assert not re.search(r"made <script>|llm-\d <i>|medium <b>", page)


def test_page_names_no_address_to_load(made_report: TrialsReport) -> None:
    page = page_of(made_report)
    assert "//" not in page
    assert not re.search(r"<(link|img|iframe|base)\b|\bsrc=|@import|url\(", page)
    assert "default-src 'none'" in page


def test_row_of_each_method_is_its_mean_with_interval(made_report: TrialsReport) -> None:
    results = made_report.results
    rows = tables_of(page_of(made_report))[0]
    assert list(rows) == ["ZeroRouter", "K-NN", "MLP, retrained", "End-to-end", "Oracle\u00a0▲"]
    low, high = results["intervals"]["knn"]["area"]
    assert f"{results['methods']['knn']['area']:.4f}<small>[{low:.4f}, {high:.4f}]</small>" in rows["K-NN"][0]


def test_best_is_sought_among_methods_that_know_no_more_than_a_router(made_report: TrialsReport) -> None:
    rows = tables_of(page_of(made_report))[0]
    marked = {name for name, cells in rows.items() if 'class="best"' in cells[0]}
    areas = {name: figures["area"] for name, figures in made_report.results["methods"].items()}
    assert areas["oracle"] == max(areas.values())
    assert max((name for name in areas if name != "oracle"), key=lambda name: areas[name]) == "end_to_end"
    assert marked == {"End-to-end"}


def test_small_qnc_reached_in_few_trials_is_not_the_best(made_report: TrialsReport) -> None:
    trials = copy.deepcopy(made_report.trials)
    costs = {"zero": [0.001, None, None, None], "knn": [0.5] * 4, "mlp": [0.4] * 4, "end_to_end": [0.3, 0.3, 0.3, None]}
    for name, values in costs.items():
        for trial, value in zip(trials, values, strict=True):
            trial.methods[name].figures["quality_neutral_cost"] = value
    cells = {name: row[2] for name, row in tables_of(page_of(replace(made_report, trials=trials)))[0].items()}
    assert [name for name, cell in cells.items() if "best" in cell] == ["MLP, retrained"]
    assert "1 of 4 trials" in cells["ZeroRouter"]
    assert "[" not in cells["ZeroRouter"]


def test_stages_are_medians_and_their_ratios(made_report: TrialsReport) -> None:
    _, _, _, costs, by_knn, by_mlp = tables_of(page_of(made_report))
    # 10 ms times the method's place times 1 to 4, the trial's
    assert costs["K-NN"][0] == "50"
    assert costs["MLP, retrained"][:3] == ["75", "20", "1"]
    assert by_knn["K-NN"] == ["1 ×"] * 9
    assert by_knn["MLP, retrained"][0] == "1.5 ×"
    assert by_mlp["ZeroRouter"][:3] == ["0.33 ×", "1 ×", "1 ×"]


def test_stage_that_a_method_lacks_is_a_dash(made_report: TrialsReport) -> None:
    trials = copy.deepcopy(made_report.trials)
    for trial in trials:
        trial.stages["knn"]["score"] = replace(trial.stages["knn"]["score"], peak_bytes=None)
    _, _, _, costs, by_knn, _ = tables_of(page_of(replace(made_report, trials=trials)))
    assert costs["K-NN"][-1] == "–"
    assert by_knn["ZeroRouter"][-1] == "–"


def test_embedding_is_told_for_one_prompt_beside_scoring_one(made_report: TrialsReport) -> None:
    assert "was not measured" in page_of(made_report)
    took = EmbeddingCost(fingerprint="f", num_prompts=50, wall_seconds=1.0, cpu_seconds=0.5, peak_bytes=3 * 2**20)
    page = page_of(replace(made_report, embedding=took))
    # K-NN scores 90 prompts in 50 ms, the MLP in 75
    assert "20 ms a prompt, 36 × as long as K-NN takes to score it, 24 × as long as MLP, retrained takes" in page
    assert "10 ms of CPU time a prompt; peak 3 MiB." in page


def test_stage_that_only_some_methods_have_is_a_column_with_dashes(made_report: TrialsReport) -> None:
    trials = copy.deepcopy(made_report.trials)
    for trial in trials:
        trial.stages["knn"]["onboard_one"] = StageCost(wall_seconds=2.0, cpu_seconds=2.0, peak_bytes=0)
    page = page_of(replace(made_report, trials=trials))
    assert "Onboard one LLM" in page
    _, _, _, costs, _, _ = tables_of(page)
    assert costs["K-NN"][6:9] == ["2,000", "2,000", "0"]
    assert costs["ZeroRouter"][6:9] == ["–"] * 3


def test_curves_are_means_with_bands_around_them_and_say_what_they_show(made_report: TrialsReport) -> None:
    figure = curves_figure(made_report)
    assert set(lines_of(figure)) == set(made_report.method_names)
    for name, line in lines_of(figure).items():
        curves = [trial.diagnostics[name].curve.quality[1:] for trial in made_report.trials]
        assert line["y"] == pytest.approx([sum(column) / 4 for column in zip(*curves, strict=True)], abs=1e-5)
        band = next(t for t in data_of(figure) if t.get("legendgroup") == name and t.get("meta") == "band")
        high, low = band["y"][: len(line["y"])], band["y"][len(line["y"]) :][::-1]
        assert all(a <= b + 1e-5 and b <= c + 1e-5 for a, b, c in zip(low, line["y"], high, strict=True))
        for word in ("quality", "relative cost", "cost ", "dollars", "cost weight"):
            assert word in line["text"][50]
    shown = [t["legendgroup"] for t in data_of(figure) if t.get("meta") == "band" and t["visible"] is True]
    assert shown == ["end_to_end"]


def test_sweep_has_the_mean_area_at_each_value(made_report: TrialsReport) -> None:
    lines = lines_of(sweep_figure(made_report, made_report.sweeps[0]))
    for name, line in lines.items():
        areas = [trial.methods[name].figures["area"] for trial in made_report.trials]
        assert line["x"] == [10, 20]
        assert line["y"] == pytest.approx([sum(areas[:2]) / 2, sum(areas[2:]) / 2], abs=1e-5)


def test_shares_of_a_method_sum_to_one_at_every_point(made_report: TrialsReport) -> None:
    traces = data_of(shares_figure(made_report))
    for name in made_report.method_names:
        layers = [trace for trace in traces if trace["meta"] == name]
        assert np.sum([layer["y"] for layer in layers], axis=0) == pytest.approx(np.ones(len(layers[0]["x"])), abs=1e-4)
        assert {layer["visible"] for layer in layers} == {name == "end_to_end"}


def test_llms_beyond_the_largest_shares_are_joined(made_report: TrialsReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_figures, "MAX_LLMS", 2)
    layers = [trace for trace in data_of(shares_figure(made_report)) if trace["meta"] == "knn"]
    assert [layer["name"] for layer in layers][-1] == "3 others"
    assert len(layers) == 3
    assert np.sum([layer["y"] for layer in layers], axis=0) == pytest.approx(np.ones(len(layers[0]["x"])), abs=1e-4)


def test_worst_source_of_the_reference_comes_first(made_report: TrialsReport) -> None:
    figure = sources_figure(made_report)
    assert figure is not None
    heat = data_of(figure)[0]
    column = heat["x"].index("End-to-end")
    regrets = [row[column] for row in heat["z"]]
    assert len(regrets) == 3
    assert regrets == sorted(regrets, reverse=True)
    for source, regret in zip(heat["y"], regrets, strict=True):
        name = source.replace("&lt;", "<").replace("&gt;", ">")
        found = [trial.diagnostics["end_to_end"].sources[name].regret for trial in made_report.trials]
        assert regret == pytest.approx(sum(found) / 4, abs=1e-5)
    assert figure.layout.yaxis.autorange == "reversed"


def test_pooled_calibration_error_is_that_of_a_loop_over_bins(made_report: TrialsReport) -> None:
    legends = {
        trace["name"].split("  ")[1]: float(trace["name"].split("  ")[0])
        for trace in data_of(reliability_figure(made_report))[1:]
    }
    bins = [trial.diagnostics["knn"].reliability for trial in made_report.trials]
    gap, pairs = 0.0, 0
    for number in range(10):
        counts = [one.count[number] for one in bins]
        estimated = sum(c * one.estimated[number] for c, one in zip(counts, bins, strict=True) if c)
        observed = sum(c * one.observed[number] for c, one in zip(counts, bins, strict=True) if c)
        gap, pairs = gap + abs(estimated - observed), pairs + sum(counts)
    assert legends["K-NN"] == pytest.approx(gap / pairs, abs=5e-4)
    assert legends["Oracle\u00a0▲"] == 0.0
    assert list(legends.values()) == sorted(legends.values())


def test_parts_without_data_say_why(made_report: TrialsReport) -> None:
    trials = copy.deepcopy(made_report.trials)
    for trial in trials:
        for name, diagnostics in trial.diagnostics.items():
            trial.diagnostics[name] = replace(diagnostics, sources={}, shares=None)
    page = page_of(replace(made_report, trials=trials, sweeps=[]))
    assert "No source has 10 test prompts in any trial." in page
    assert "No trial kept them." in page
    assert re.findall("<h2>(.*?)</h2>", page) == [heading for heading in HEADINGS if heading != "Sweeps"]
