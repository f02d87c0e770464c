import json
from dataclasses import replace

import pytest
import torch

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.methods.registry import display_name
from unirouter_torch.metrics.deferral import DeferralCurve, single_llm_quality
from unirouter_torch.metrics.figures import FIGURE_OF
from unirouter_torch.metrics.judged import Judged, Truth
from unirouter_torch.metrics.scores import MethodScores, score
from unirouter_torch.reports.report import EvaluationReport
from unirouter_torch.reports.run_figures import draw_curves, thin_curve

TABLE = {
    "name": "Invented table",
    "num_prompts": 1200,
    "num_llms": 15,
    "observed_fraction": 0.85,
    "content_hash": "0123abcd",
    "cost_unit": "US dollars",
    "cost_rule": "list price times mean tokens",
    "is_estimate": True,
}
CURVE = DeferralCurve(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 1.0]), torch.tensor([0.9, 0.5]))
VALUES: dict[str, float | None] = dict.fromkeys(FIGURE_OF, 0.5) | {
    "area": 0.7,
    "area_50": 0.3,
    "quality_neutral_cost": 0.25,
    "peak_accuracy": 0.9,
    "mean_squared_error": 0.2,
}


def scores_with(**values: float | None) -> MethodScores:
    return MethodScores(figures=VALUES | values, curve=CURVE, resampled_cost=torch.full((100,), 0.5).double())


def make_report(num_llms=5, **changes):
    generator = torch.Generator().manual_seed(0)
    error = (torch.rand(80, num_llms, generator=generator) < 0.4).float()
    cost = 0.001 * torch.rand(num_llms, generator=generator).mul(4).exp()
    observed = torch.rand(80, num_llms, generator=generator) < 0.9
    methods = {}
    for name, share in (("zero", 0.0), ("kmeans", 0.3), ("home_made", 0.2), ("oracle", 1.0)):
        estimated = share * error + (1 - share) * error.mean(0)
        methods[name] = score(Judged(estimated, Truth(cost=cost, error=error, observed=observed)))
    report = EvaluationReport(
        table=TABLE,
        split={"seed": 3},
        methods=methods,
        llm_names=[f"grove/llm-{llm}" for llm in range(num_llms)],
        llm_cost=cost,
        llm_quality=single_llm_quality(error, observed),
        best_llm="grove/llm-0",
        num_test_prompts=80,
    )
    return replace(report, **changes)


def tables_of(report):
    blocks = report.to_markdown().split("\n\n")
    return [block.splitlines() for block in blocks if block.startswith("| Method")]


def cells_of(table):
    rows = table[2:]
    return {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]] for row in rows}


def test_json_follows_the_contract():
    report = make_report()
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["table"] == TABLE
    assert content["split"] == {"seed": 3}
    assert content["convention"] == {"cost_axis": "dearest", "interpolation": "linear", "left": "hold"}
    assert list(content["methods"]) == ["zero", "kmeans", "home_made", "oracle"]
    for name, figures in content["methods"].items():
        assert figures == report.methods[name].figures
        assert list(figures) == list(FIGURE_OF)
    assert [llm["name"] for llm in content["single_llms"]] == report.llm_names
    assert content["curves"]["kmeans"]["cost"] == report.methods["kmeans"].curve.cost.tolist()


def test_what_is_not_known_is_null():
    report = make_report(
        methods={"zero": scores_with(quality_neutral_cost=None)},
        llm_quality=torch.tensor([0.5, torch.nan, 0, 0, 0]),
    )
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["methods"]["zero"]["quality_neutral_cost"] is None
    assert content["single_llms"][1]["quality"] is None


def test_best_of_each_column_is_bold_the_oracle_apart():
    methods = {
        "zero": scores_with(quality_neutral_cost=None, mean_squared_error=0.1, cost_at_99=0.4),
        "kmeans": scores_with(area=0.8, area_50=0.30001, cost_at_99=0.3, cost_at_100=None),
        "oracle": scores_with(area=0.99, quality_neutral_cost=0.01, mean_squared_error=0.0, cost_at_99=0.01),
    }
    merit, saving = (cells_of(table) for table in tables_of(make_report(methods=methods)))
    assert {name: row[:5] for name, row in merit.items()} == {
        "ZeroRouter": ["0.7000", "**0.3000**", "not reached", "**0.9000**", "**0.1000**"],
        "UniRoute K-means": ["**0.8000**", "**0.3000**", "**25.0%**", "**0.9000**", "0.2000"],
        "Oracle": ["0.9900", "0.3000", "1.0%", "0.9000", "0.0000"],
    }
    assert {name: row[1:3] for name, row in saving.items()} == {
        "ZeroRouter": ["40.0%", "**50.0%**"],
        "UniRoute K-means": ["**30.0%**", "not reached"],
        "Oracle": ["1.0%", "50.0%"],
    }


def test_nothing_is_bold_where_no_method_reaches_the_best_llm():
    methods = {"zero": scores_with(quality_neutral_cost=None), "oracle": scores_with()}
    cells = cells_of(tables_of(make_report(methods=methods))[0])
    assert [row[2] for row in cells.values()] == ["not reached", "25.0%"]


def test_markdown_names_unit_rule_and_estimates():
    text = make_report().to_markdown()
    assert text.startswith("# Invented table: unseen LLMs\n")
    assert "US dollars (estimated): list price times mean tokens" in text
    assert "0123abcd" in text
    assert "estimated" not in make_report(table={**TABLE, "is_estimate": False}).to_markdown()


def test_title_does_not_call_all_llms_unseen():
    assert make_report(num_llms=15).title() == "Invented table: all LLMs"


def test_other_methods_keep_their_name():
    assert [display_name(name) for name in ("knn", "end_to_end", "home_made")] == ["K-NN", "End-to-end", "home_made"]


def test_thinned_curve_keeps_its_ends_and_its_peak():
    steps = torch.arange(5000, dtype=torch.float64)
    quality = torch.zeros(5000, dtype=torch.float64)
    quality[1234] = 1.0
    thin = thin_curve(DeferralCurve(steps, 5000 - steps, quality))
    assert 190 <= len(thin.cost) <= 200
    assert (thin.cost_weight[0], thin.cost_weight[-1], thin.quality.max()) == (0.0, 4999.0, 1.0)
    assert (thin.cost_weight + thin.cost == 5000).all()
    assert (thin.cost.diff() < 0).all()


def test_folder_holds_three_files_that_do_not_vary(tmp_path):
    report = make_report()
    report.write(tmp_path / "first")
    report.write(tmp_path / "second")
    names = ["curves.png", "results.json", "results.md"]
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == names
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert json.loads((tmp_path / "first" / "results.json").read_text()) == report.to_json()
    assert (tmp_path / "first" / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_llms": 1},
        {"convention": CurveConvention(cost_axis="range", interpolation="step")},
        {"methods": {"oracle": scores_with()}},
        {"llm_quality": torch.tensor([torch.nan, 0.01, 0.5, 0.6, 0.7])},
        {"llm_cost": torch.tensor([0.0, 0.1, 0.2, 0.3, 1.0])},
        {"llm_cost": torch.ones(5)},
    ],
    ids=str,
)
def test_unusual_pools_are_drawn(changes):
    assert draw_curves(make_report(**changes)).startswith(b"\x89PNG")


def test_second_part_on_unseen_llms_follows_the_first_and_its_table():
    unseen = make_report(num_llms=3, split={"num_calibration": 80})
    report = make_report(unseen=unseen, cost_weight=0.25)
    assert make_report().to_markdown() in report.to_markdown()
    part = report.to_markdown().partition("## 3 LLMs that training did not see\n")[2]
    assert part.count("| Method") == 2 and "known by 80 calibration prompts" in part
    content = report.to_json()
    assert content["unseen_llms"] == unseen.to_json() and content["cost_weight"] == 0.25
    assert not {"unseen_llms", "cost_weight"} & unseen.to_json().keys()
