import json
from dataclasses import replace

import pytest
import torch

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.deferral import DeferralCurve, single_llm_quality
from unirouter_torch.metrics.scores import MethodScores, score_method
from unirouter_torch.reports.report import EvaluationReport, display_name, draw_curves, thin_curve

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
SCORES = MethodScores(
    area=0.7, area_50=0.3, quality_neutral_cost=0.25, peak_accuracy=0.9, mean_squared_error=0.2, curve=CURVE
)


def make_report(num_llms=5, **changes):
    generator = torch.Generator().manual_seed(0)
    error = (torch.rand(80, num_llms, generator=generator) < 0.4).float()
    cost = 0.001 * torch.rand(num_llms, generator=generator).mul(4).exp()
    observed = torch.rand(80, num_llms, generator=generator) < 0.9
    methods = {}
    for name, share in (("zero", 0.0), ("kmeans", 0.3), ("home_made", 0.2), ("oracle", 1.0)):
        estimated = share * error + (1 - share) * error.mean(0)
        methods[name] = score_method(estimated, cost, error, observed)
    report = EvaluationReport(
        table=TABLE,
        split={"seed": 3},
        methods=methods,
        llm_names=[f"grove/llm-{llm}" for llm in range(num_llms)],
        llm_cost=cost,
        llm_quality=single_llm_quality(error, observed),
    )
    return replace(report, **changes)


def cells_of(report):
    rows = [line for line in report.to_markdown().splitlines() if line.startswith("|")][2:]
    return {row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:-1]] for row in rows}


def test_json_follows_the_contract():
    report = make_report()
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["table"] == TABLE
    assert content["split"] == {"seed": 3}
    assert content["convention"] == {"cost_axis": "dearest", "interpolation": "linear", "left": "hold"}
    assert list(content["methods"]) == ["zero", "kmeans", "home_made", "oracle"]
    for name, figures in content["methods"].items():
        assert figures == {key: getattr(report.methods[name], key) for key in figures}
        assert list(figures) == ["area", "area_50", "quality_neutral_cost", "peak_accuracy", "mean_squared_error"]
    assert [llm["name"] for llm in content["single_llms"]] == report.llm_names
    assert content["curves"]["kmeans"]["cost"] == report.methods["kmeans"].curve.cost.tolist()


def test_what_is_not_known_is_null():
    report = make_report(
        methods={"zero": replace(SCORES, quality_neutral_cost=None)},
        llm_quality=torch.tensor([0.5, torch.nan, 0, 0, 0]),
    )
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert content["methods"]["zero"]["quality_neutral_cost"] is None
    assert content["single_llms"][1]["quality"] is None


def test_best_of_each_column_is_bold_the_oracle_apart():
    methods = {
        "zero": replace(SCORES, quality_neutral_cost=None, mean_squared_error=0.1),
        "kmeans": replace(SCORES, area=0.8, area_50=0.30001),
        "oracle": replace(SCORES, area=0.99, quality_neutral_cost=0.01, mean_squared_error=0.0),
    }
    assert cells_of(make_report(methods=methods)) == {
        "ZeroRouter": ["0.7000", "**0.3000**", "not reached", "**0.9000**", "**0.1000**"],
        "UniRoute K-means": ["**0.8000**", "**0.3000**", "**25.0%**", "**0.9000**", "0.2000"],
        "Oracle": ["0.9900", "0.3000", "1.0%", "0.9000", "0.0000"],
    }


def test_nothing_is_bold_where_no_method_reaches_the_best_llm():
    cells = cells_of(make_report(methods={"zero": replace(SCORES, quality_neutral_cost=None), "oracle": SCORES}))
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
        {"methods": {"oracle": SCORES}},
        {"llm_quality": torch.tensor([torch.nan, 0.01, 0.5, 0.6, 0.7])},
        {"llm_cost": torch.tensor([0.0, 0.1, 0.2, 0.3, 1.0])},
        {"llm_cost": torch.ones(5)},
    ],
    ids=str,
)
def test_unusual_pools_are_drawn(changes):
    assert draw_curves(make_report(**changes)).startswith(b"\x89PNG")
