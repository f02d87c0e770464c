"""Several trials as one HTML page with interactive figures, which needs no network."""

import statistics
from collections.abc import Callable
from itertools import product
from typing import Any

from unirouter_torch.methods.registry import display_name, knows_more
from unirouter_torch.metrics.diagnostics import MIN_PROMPTS_OF_A_SOURCE
from unirouter_torch.metrics.figures import FIGURE_OF, FIGURES
from unirouter_torch.reports.html_figures import (
    MAX_SOURCES,
    curves_figure,
    reliability_figure,
    shares_figure,
    sources_figure,
    sweep_figure,
)
from unirouter_torch.reports.html_page import Section, draw_figure, draw_switch, draw_table, escape, lay_out
from unirouter_torch.reports.html_parts import is_logarithmic, label_of
from unirouter_torch.reports.trials_report import COMPARED, SIGNIFICANCE_LEVEL, TrialsReport

Results = dict[str, Any]

FEW_TRIALS = 10
"""With fewer trials a bootstrap interval is too narrow to be trusted."""

STAGES = {"fit": "Fit", "onboard": "Onboard all LLMs", "onboard_one": "Onboard one LLM", "score": "Score"}
STAGE_COLUMNS = {"wall_seconds": "Wall [ms]", "cpu_seconds": "CPU [ms]", "peak_bytes": "Peak [MiB]"}
STAGE_SCALES = {"wall_seconds": 1e3, "cpu_seconds": 1e3, "peak_bytes": 1 / 2**20}
RATIO_BASES = ("knn", "mlp")
"""Methods whose cost the others' is compared with."""

StageCosts = dict[tuple[str, str], float]
"""Median over trials by stage and column, where it was measured."""


def render_html(report: TrialsReport, results: Results) -> str:
    """The page: tables, deferral curves, sweeps, shares of the LLMs, sources, reliability, time and memory.

    Args:
        report: What every trial measured; each trial has ``diagnostics`` and ``stages`` for each method.
        results: What ``report.to_json()`` gave, so that the intervals are not computed twice.

    Returns:
        HTML that holds its style, its script and plotly.js; nothing is loaded from elsewhere. All text from the data is
        escaped. Sweeps are left out where there are none; another part without data says why it is empty.
    """
    sections = [
        Section("results", "Results", _results(report, results)),
        Section("curves", "Deferral curves", _curves(report)),
        Section("sweeps", "Sweeps", _sweeps(report)),
        Section("shares", "Share of prompts per LLM", _shares(report)),
        Section("sources", "Worst sources first", _sources(report)),
        Section("reliability", "Calibration of the estimates", _reliability(report)),
        Section("stages", "Time and memory", _stages(report)),
    ]
    return lay_out(report.title(), _facts(report), [section for section in sections if section.body])


def _facts(report: TrialsReport) -> str:
    table, convention = report.table, report.convention
    split, seeds = report.trials[0]["split"], [trial["seed"] for trial in report.trials]
    axis = {"dearest": "cost over that of the dearest LLM", "range": "from the cheapest LLM (0) to the dearest (1)"}
    facts = {
        "Prompts": f"{table['num_prompts']:,}, of which {split['num_test_prompts']:,} test prompts in a trial",
        "LLMs": f"{table['num_llms']:,}, of which {split['num_unseen_llms']} evaluated in a trial",
        "Outcomes observed": f"{table['observed_fraction']:.1%} of the pairs",
        "Calibration prompts": f"{split['num_calibration']:,} for each evaluated LLM",
        "Trials": f"{len(seeds)}, seeds {min(seeds)} to {max(seeds)}; prompts and LLMs redrawn",
        "Cost": f"{table['cost_unit']}, {table['cost_rule']}{' (estimated)' if table['is_estimate'] else ''}",
        "Relative cost": axis[convention.cost_axis],
        "Between two points of a curve": "the two routers mixed"
        if convention.interpolation == "linear"
        else "the cheaper router",
        "Left of a curve's cheapest point": "its quality" if convention.left == "hold" else "quality 0",
        "Reference method": display_name(report.reference),
        "Hash of the table": table["content_hash"][:16],
    }
    return "<dl>" + "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items()) + "</dl>"


def _results(report: TrialsReport, results: Results) -> str:
    num_trials = results["num_trials"]
    best = {metric: _best(results, metric) for metric in FIGURE_OF}
    tables = []
    for table in ("merit", "saving"):
        figures = [figure for figure in FIGURES if figure.table == table]
        rows = [
            [label_of(name), *(_figure_cell(results, name, figure.key, best[figure.key]) for figure in figures)]
            for name in report.method_names
        ]
        tables.append(draw_table([_heads("Method", *(figure.head for figure in figures))], rows))
    rough = f" Over fewer than {FEW_TRIALS} trials intervals are too narrow." if num_trials < FEW_TRIALS else ""
    reference = escape(display_name(report.reference))
    return (
        f"<p>Mean over {num_trials} trials with its 95% bootstrap interval.{rough} ▲ marks methods that see what no "
        "router can; in colour, the best of each column among the others. QNC (quality-neutral cost): least relative "
        "cost at which the router is as good as the best single LLM, over the trials that reach it; in colour only "
        "among those that reach it most often.</p>"
        + "".join(tables)
        + f"<h3>{reference} against each method</h3><p>Trials that {reference} wins : loses, mean difference ("
        f"{reference} minus the other) with its 95% interval, and p of the two-sided sign test, in colour below "
        f"{SIGNIFICANCE_LEVEL}. A value that is never reached counts as worse than any that is; the difference is over "
        "the trials in which both reach it.</p>" + _comparison_table(results)
    )


def _figure_cell(results: Results, name: str, metric: str, best: str | None) -> str:
    value, num_values = results["methods"][name][metric], results["num_trials"]
    reached = ""
    if metric == "quality_neutral_cost" or results["reached"][name][metric] < num_values:
        num_values = results["reached"][name][metric]
        reached = f"<small>reached in {num_values} of {results['num_trials']}</small>"
    if value is None:
        return f"–{reached}"
    low, high = results["intervals"][name][metric]
    interval = f"<small>{low:.4f} – {high:.4f}</small>" if num_values > 1 else ""
    is_best = f"{value:.4f}" == best and name in _rivals(results, metric)
    shade = ' class="best"' if is_best else ""
    return f"<span{shade}>{value:.4f}</span>{interval}{reached}"


def _best(results: Results, metric: str) -> str | None:
    """The best value as printed, so that equal prints look the same; None where no method has one."""
    values = [results["methods"][name][metric] for name in _rivals(results, metric)]
    found = FIGURE_OF[metric].best(values)
    return None if found is None else f"{found:.4f}"


def _rivals(results: Results, metric: str) -> list[str]:
    """Methods that may be the best: for the QNC those that reach it most often, as its mean is over these trials."""
    names = [name for name in results["methods"] if not knows_more(name)]
    reached = results["reached"]
    most = max((reached[name][metric] for name in names), default=0)
    return [name for name in names if reached[name][metric] == most]


def _comparison_table(results: Results) -> str:
    rows = [
        [label_of(name), *(_comparison_cell(found[figure.key]) for figure in COMPARED)]
        for name, found in results["comparison"]["methods"].items()
    ]
    return draw_table([_heads("Method", *(figure.head for figure in COMPARED))], rows)


def _comparison_cell(comparison: dict[str, Any]) -> str:
    p = comparison["sign_test_p"]
    shade = ' class="best"' if p < SIGNIFICANCE_LEVEL else ""
    text = f"{comparison['wins']} : {comparison['losses']}, <span{shade}>p = {p:.2g}</span>"
    if comparison["difference"] is None:
        return text
    low, high = comparison["interval"]
    return f"{text}<small>{comparison['difference']:+.4f} [{low:+.4f}, {high:+.4f}]</small>"


def _curves(report: TrialsReport) -> str:
    switch = draw_switch("bands", "plot-curves", "Bands of all methods", is_on=False)
    if is_logarithmic(report):
        switch = draw_switch("axis", "plot-curves", "Logarithmic cost axis", is_on=True) + switch
    return (
        f"<p>Mean quality against mean relative cost over {len(report.trials)} trials, with 95% bootstrap bands: at "
        f"first that of {escape(display_name(report.reference))} alone. Under the pointer: method, cost weight, cost, "
        "quality. The cost weight of a point is the median over trials of the least one at which the method costs no "
        "more, in error for one unit of cost. The axes show where routers differ; a double click shows everything, a "
        "click on the legend shows or hides one method (the oracle is hidden at first), a double click there shows it "
        "alone.</p>" + switch + draw_figure("plot-curves", curves_figure(report))
    )


def _sweeps(report: TrialsReport) -> str:
    return "".join(
        f"<h3>{escape(sweep.label)}</h3><p>Mean area with its 95% band over {len(sweep.points[0].trials)} trials at "
        f"each value.</p>"
        + draw_switch("bands", f"plot-sweep-{number}", "Bands of all methods", is_on=False)
        + draw_figure(f"plot-sweep-{number}", sweep_figure(report, sweep))
        for number, sweep in enumerate(report.sweeps)
        if sweep.points
    )


def _shares(report: TrialsReport) -> str:
    figure = shares_figure(report)
    if figure is None:
        return "<p>No trial kept them.</p>"
    shown = next(trace["meta"] for trace in figure["data"] if trace["visible"])
    options = "".join(
        f'<option value="{escape(name)}"{" selected" if name == shown else ""}>{label_of(name)}</option>'
        for name in dict.fromkeys(trace["meta"] for trace in figure["data"])
    )
    return (
        "<p>Where the prompts go as more may be spent, in the first trial: from a method's cheapest point to its "
        "dearest. Colours rise from the cheapest LLM of the pool (dark) to the dearest (light).</p>"
        f'<label class="control">Method <select data-plot="plot-shares" autocomplete="off">{options}</select></label>'
        + draw_figure("plot-shares", figure)
    )


def _sources(report: TrialsReport) -> str:
    figure = sources_figure(report)
    if figure is None:
        return f"<p>No source has {MIN_PROMPTS_OF_A_SOURCE} test prompts in any trial.</p>"
    return (
        "<p>Regret on a source: area of the best that can be done there by knowing the source and nothing else of a "
        "prompt, minus the method's area on its prompts; mean over the trials with at least "
        f"{MIN_PROMPTS_OF_A_SOURCE} test prompts of it. "
        f"Sorted by the regret of {escape(display_name(report.reference))}; at most {MAX_SOURCES} sources. Negative is "
        "better than knowing the source.</p>" + draw_figure("plot-sources", figure, min_width=880)
    )


def _reliability(report: TrialsReport) -> str:
    return (
        "<p>Mean observed against mean estimated error in ten bins of the estimate, over the observed pairs of all "
        "trials; larger points stand for more pairs. Before each name stands its expected calibration error (ECE): the "
        "mean distance to the dotted line, weighted by pairs. Over the pairs of all trials together it can be smaller "
        "than the mean of the trials' in the table above. Random, the best single LLM and the oracles wait in the "
        "legend.</p>" + draw_figure("plot-reliability", reliability_figure(report))
    )


def _stages(report: TrialsReport) -> str:
    costs = {name: _median_costs(report, name) for name in report.method_names}

    def cell(name: str, stage: str, column: str) -> str:
        return _print(costs[name].get((stage, column)), STAGE_SCALES[column])

    return (
        "<p>Medians over trials, on one thread: to fit on the seen LLMs, tuning included; to onboard all evaluated "
        "LLMs by their calibration outcomes, or one of them; to score all test prompts. K-means clusters are computed "
        "once a trial, in the fit of the first method that asks for them, so the fits of those after it look cheaper. "
        "Peak: how far resident memory rose in the stage, at least. Times below a millisecond and peaks below a MiB "
        "are mostly noise.</p>"
        f"<p>{_embedding(report, costs)}</p>"
        + _stage_table(costs, STAGE_COLUMNS, cell)
        + "".join(_ratio_table(costs, base) for base in RATIO_BASES if base in costs)
    )


def _embedding(report: TrialsReport, costs: dict[str, StageCosts]) -> str:
    """What it takes to embed a prompt, beside what the methods of the ratios take to score one."""
    text = "Before a prompt is scored it is embedded, which all methods share and the tables do not include"
    if report.embedding is None:
        return f"{text}; how long that takes was not measured."
    number, wall, cpu = (report.embedding[key] for key in ("num_prompts", "wall_seconds", "cpu_seconds"))
    num_scored = report.trials[0]["split"]["num_test_prompts"]
    times = [
        f"{_print(wall / number / (costs[base]['score', 'wall_seconds'] / num_scored))} × as long as {label_of(base)} "
        "takes to score it"
        for base in RATIO_BASES
        if costs.get(base, {}).get(("score", "wall_seconds"))
    ]
    return (
        f"{text}. Measured afresh on {number:,} prompts, embedding takes {_print(wall / number, 1e3)} ms a prompt"
        f"{''.join(f', {time}' for time in times)}; {_print(cpu / number, 1e3)} ms of CPU time a prompt; peak "
        f"{_print(report.embedding['peak_bytes'], STAGE_SCALES['peak_bytes'])} MiB."
    )


def _ratio_table(costs: dict[str, StageCosts], base: str) -> str:
    def cell(name: str, stage: str, column: str) -> str:
        mine, other = costs[name].get((stage, column)), costs[base].get((stage, column))
        return "–" if mine is None or not other else f"{_print(mine / other)} ×"

    labels = {column: label.partition(" [")[0] for column, label in STAGE_COLUMNS.items()}
    return f"<h3>As a multiple of {label_of(base)}</h3>" + _stage_table(costs, labels, cell)


def _stage_table(costs: dict[str, StageCosts], labels: dict[str, str], cell: Callable[[str, str, str], str]) -> str:
    """One row a method, and for each stage that was measured the labelled columns."""
    stages = [stage for stage in STAGES if any(stage == measured for cost in costs.values() for measured, _ in cost)]
    groups = [f'<th colspan="{len(labels)}">{STAGES[stage]}</th>' for stage in stages]
    head = [["<th></th>", *groups], _heads("Method", *(list(labels.values()) * len(stages)))]
    rows = [[label_of(name), *(cell(name, stage, column) for stage in stages for column in labels)] for name in costs]
    return draw_table(head, rows)


def _median_costs(report: TrialsReport, name: str) -> StageCosts:
    trials = [trial["stages"][name] for trial in report.trials]
    found: dict[tuple[str, str], list[float]] = {}
    for stage, column in product(STAGES, STAGE_COLUMNS):
        values = [costs[stage][column] for costs in trials if stage in costs]
        found[stage, column] = [value for value in values if value is not None]
    return {key: statistics.median(values) for key, values in found.items() if values}


def _print(value: float | int | None, scale: float = 1.0) -> str:
    """Three digits, all of those before the point, none beyond the second after it."""
    if value is None:
        return "–"
    value *= scale
    if 0 < value < 0.005:
        return "&lt;0.01"
    return f"{value:,.0f}" if value >= 99.95 else f"{round(value, 2):.3g}"


def _heads(*texts: str) -> list[str]:
    """Heads of columns; an arrow stays on the line of the word before it."""
    together = (escape(text).replace(" ↑", "\u00a0↑").replace(" ↓", "\u00a0↓") for text in texts)
    return [f'<th scope="col">{text}</th>' for text in together]
