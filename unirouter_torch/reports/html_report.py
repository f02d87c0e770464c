"""Several trials as one HTML page with interactive figures, which needs no network."""

from typing import Any

from unirouter_torch.methods.registry import display_name
from unirouter_torch.metrics.diagnostics import MIN_PROMPTS_OF_A_SOURCE
from unirouter_torch.metrics.statistics import SIGNIFICANCE_LEVEL
from unirouter_torch.reports.html_figures import (
    MAX_SOURCES,
    curves_figure,
    reliability_figure,
    shares_figure,
    sources_figure,
    sweep_figure,
)
from unirouter_torch.reports.html_page import render_page
from unirouter_torch.reports.html_parts import is_logarithmic
from unirouter_torch.reports.labels import label_of
from unirouter_torch.reports.stage_tables import cost_table, embedding_facts, median_costs, ratio_tables
from unirouter_torch.reports.trials_report import TrialsReport
from unirouter_torch.reports.trials_tables import comparison_table, figure_table

FEW_TRIALS = 10
"""With fewer trials a bootstrap interval is too narrow to be trusted."""

CONTENTS = {
    "results": "Results",
    "curves": "Deferral curves",
    "sweeps": "Sweeps",
    "shares": "Share of prompts per LLM",
    "sources": "Worst sources first",
    "reliability": "Calibration of the estimates",
    "stages": "Time and memory",
}


def render_html(report: TrialsReport) -> str:
    """The page: tables, deferral curves, sweeps, shares of the LLMs, sources, reliability, time and memory.

    Args:
        report: What every trial measured; each trial has ``diagnostics`` and ``stages`` for each method.

    Returns:
        HTML that holds its style, its script and plotly.js; nothing is loaded from elsewhere. All text from the data is
        escaped. Sweeps are left out where there are none; another part without data says why it is empty.
    """
    costs = median_costs(report)
    sweeps = [
        {"label": sweep.label, "num_trials": len(sweep.points[0].trials), "figure": sweep_figure(report, sweep)}
        for sweep in report.sweeps
        if sweep.points
    ]
    return render_page(
        "trials.html.jinja",
        title=report.title(),
        headline=report.results["headline"],
        contents={anchor: heading for anchor, heading in CONTENTS.items() if anchor != "sweeps" or sweeps},
        facts=_facts(report),
        reference=display_name(report.reference),
        num_trials=len(report.trials),
        few_trials=FEW_TRIALS,
        significance_level=SIGNIFICANCE_LEVEL,
        merit=figure_table(report.results, "merit"),
        saving=figure_table(report.results, "saving"),
        comparison=comparison_table(report.results),
        curves=curves_figure(report),
        is_logarithmic=is_logarithmic(report),
        sweeps=sweeps,
        shares=_shares(report),
        sources=sources_figure(report),
        max_sources=MAX_SOURCES,
        min_prompts_of_a_source=MIN_PROMPTS_OF_A_SOURCE,
        reliability=reliability_figure(report),
        embedding=embedding_facts(report, costs),
        stages=cost_table(costs),
        ratios=ratio_tables(costs),
    )


def _facts(report: TrialsReport) -> dict[str, str]:
    table, convention = report.table, report.convention
    split, seeds = report.trials[0].split, [trial.seed for trial in report.trials]
    axis = {
        "dearest": "cost over that of the most expensive LLM",
        "range": "from the cheapest LLM (0) to the most expensive (1)",
    }
    mixes = {"linear": "the two routers mixed", "step": "the cheaper router"}
    left = {"hold": "its quality", "zero": "quality 0"}
    return {
        "Prompts": f"{table['num_prompts']:,}, of which {split['num_test_prompts']:,} test prompts in a trial",
        "LLMs": f"{table['num_llms']:,}, of which {split['num_unseen_llms']} evaluated in a trial",
        "Outcomes observed": f"{table['observed_fraction']:.1%} of the pairs",
        "Calibration prompts": f"{split['num_calibration']:,} for each evaluated LLM",
        "Trials": f"{len(seeds)}, seeds {min(seeds)} to {max(seeds)}; prompts and LLMs redrawn",
        "Cost": f"{table['cost_unit']}, {table['cost_rule']}{' (estimated)' if table['is_estimate'] else ''}",
        "Relative cost": axis[convention.cost_axis],
        "Between two points of a curve": mixes[convention.interpolation],
        "Left of a curve's cheapest point": left[convention.left],
        "Reference method": display_name(report.reference),
        "Hash of the table": table["content_hash"][:16],
    }


def _shares(report: TrialsReport) -> dict[str, Any] | None:
    figure = shares_figure(report)
    return figure and {
        "figure": figure,
        "methods": {trace.meta: label_of(trace.meta) for trace in figure.data},
        "shown": next(trace.meta for trace in figure.data if trace.visible),
    }
