"""Several trials as one HTML page with interactive figures, which needs no network."""

import statistics
from typing import Any

from unirouter_torch.evaluation.html_figures import (
    MAX_SOURCES,
    curves_figure,
    reliability_figure,
    shares_figure,
    sources_figure,
    sweep_figure,
)
from unirouter_torch.evaluation.html_page import Section, draw_figure, draw_table, escape, lay_out
from unirouter_torch.evaluation.html_parts import is_logarithmic
from unirouter_torch.evaluation.report import ORACLE, display_name
from unirouter_torch.evaluation.trials_report import COMPARED, SIGNIFICANCE_LEVEL, TRIAL_FIGURES, TrialsReport

Results = dict[str, Any]

KNOW_MORE = ("clairvoyant_mlp", "clairvoyant_matrix_factorization", "source_oracle", ORACLE)
"""Methods that see what no router can; the best of a column is looked for among the others."""

STAGES = ("fit", "onboard", "score")
STAGE_COLUMNS = {"wall_seconds": "Wall [ms]", "cpu_seconds": "CPU [ms]", "peak_bytes": "Peak [MiB]"}
STAGE_SCALES = {"wall_seconds": 1e3, "cpu_seconds": 1e3, "peak_bytes": 1 / 2**20}
RATIO_BASES = ("knn", "mlp")
"""Methods whose cost the others' is compared with."""


def render_html(report: TrialsReport, results: Results) -> str:
    """The page: tables, deferral curves, sweeps, shares of the LLMs, sources, reliability, time and memory.

    Args:
        report: What every trial measured; each trial has ``diagnostics`` and ``stages`` for each method.
        results: What ``report.to_json()`` gave, so that the intervals are not computed twice.

    Returns:
        HTML that holds its style, its script and plotly.js; nothing is loaded from elsewhere. All text from the data is
        escaped. Parts without data are left out.
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
        "Between two points": "the two routers mixed" if convention.interpolation == "linear" else "the cheaper router",
        "Left of the cheapest point": "its quality" if convention.left == "hold" else "quality 0",
        "Reference method": display_name(report.reference),
        "Table content": table["content_hash"][:16],
    }
    return "<dl>" + "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items()) + "</dl>"


def _results(report: TrialsReport, results: Results) -> str:
    num_trials = results["num_trials"]
    best = {metric: _best(results, metric) for metric in TRIAL_FIGURES}
    rows = [
        [escape(display_name(name)), *(_figure_cell(results, name, metric, best[metric]) for metric in TRIAL_FIGURES)]
        for name in report.method_names
    ]
    reference = escape(display_name(report.reference))
    return (
        f"<p>Mean over {num_trials} trials with its 95% bootstrap interval. In colour: the best of each column among "
        "the methods that use no more than a router can know. QNC (quality-neutral cost): least relative cost at which "
        "the router is as good as the best single LLM, over the trials that reach it.</p>"
        + draw_table([_heads("Method", *TRIAL_FIGURES.values())], rows)
        + f"<h3>{reference} against each method</h3><p>Trials that {reference} wins : loses, mean difference ("
        f"{reference} minus the other) with its 95% interval, and p of the two-sided sign test, in colour below "
        f"{SIGNIFICANCE_LEVEL}. A QNC that is never reached counts as worse than any that is.</p>"
        + _comparison_table(results)
    )


def _figure_cell(results: Results, name: str, metric: str, best: float | None) -> str:
    value = results["methods"][name][metric]
    reached = ""
    if metric == "quality_neutral_cost":
        reached = (
            f"<small>reached in {results['quality_neutral_cost_reached'][name]} of {results['num_trials']}</small>"
        )
    if value is None:
        return f"–{reached}"
    low, high = results["intervals"][name][metric]
    shade = ' class="best"' if value == best and name not in KNOW_MORE else ""
    return f"<span{shade}>{value:.4f}</span><small>{low:.4f} – {high:.4f}</small>{reached}"


def _best(results: Results, metric: str) -> float | None:
    values = [figures[metric] for name, figures in results["methods"].items() if name not in KNOW_MORE]
    pick = min if TRIAL_FIGURES[metric].endswith("↓") else max
    return pick((value for value in values if value is not None), default=None)


def _comparison_table(results: Results) -> str:
    rows = [
        [escape(display_name(name)), *(_comparison_cell(found[metric]) for metric in COMPARED)]
        for name, found in results["comparison"]["methods"].items()
    ]
    return draw_table([_heads("Method", *(TRIAL_FIGURES[metric] for metric in COMPARED))], rows)


def _comparison_cell(comparison: dict[str, Any]) -> str:
    p = comparison["sign_test_p"]
    shade = ' class="best"' if p < SIGNIFICANCE_LEVEL else ""
    text = f"{comparison['wins']} : {comparison['losses']}, <span{shade}>p = {p:.2g}</span>"
    if comparison["difference"] is None:
        return text
    low, high = comparison["interval"]
    return f"{text}<small>{comparison['difference']:+.4f} [{low:+.4f}, {high:+.4f}]</small>"


def _curves(report: TrialsReport) -> str:
    switch = (
        '<label class="control"><input type="checkbox" data-plot="plot-curves" checked> Logarithmic cost axis</label>'
        if is_logarithmic(report)
        else ""
    )
    return (
        f"<p>Mean quality against mean relative cost over {len(report.trials)} trials, with 95% bootstrap bands. The "
        "cost weight of a point is the median over trials of the least one at which the method costs no more, in error "
        "for one unit of cost. The axes show where routers differ; a double click shows everything, a click on the "
        "legend shows or hides one method (the oracle is hidden at first), a double click there shows it alone.</p>"
        + switch
        + draw_figure("plot-curves", curves_figure(report))
    )


def _sweeps(report: TrialsReport) -> str:
    return "".join(
        f"<h3>{escape(sweep.label)}</h3><p>Mean area with its 95% band over {len(sweep.points[0].trials)} trials at "
        f"each value.</p>{draw_figure(f'plot-sweep-{number}', sweep_figure(report, sweep))}"
        for number, sweep in enumerate(report.sweeps)
        if sweep.points
    )


def _shares(report: TrialsReport) -> str:
    figure = shares_figure(report)
    if figure is None:
        return ""
    shown = next(trace["meta"] for trace in figure["data"] if trace["visible"])
    options = "".join(
        f'<option value="{escape(name)}"{" selected" if name == shown else ""}>{escape(display_name(name))}</option>'
        for name in dict.fromkeys(trace["meta"] for trace in figure["data"])
    )
    return (
        "<p>Where the prompts go as more may be spent, on one trial. Colours rise from the cheapest LLM of the pool "
        "(dark) to the dearest (light).</p>"
        f'<label class="control">Method <select data-plot="plot-shares" autocomplete="off">{options}</select></label>'
        + draw_figure("plot-shares", figure)
    )


def _sources(report: TrialsReport) -> str:
    figure = sources_figure(report)
    if figure is None:
        return ""
    return (
        "<p>Regret on a source: area of the best that can be done there by knowing the source and nothing else of a "
        "prompt, minus the method's area on its prompts; mean over the trials with at least 10 test prompts of it. "
        f"Sorted by the regret of {escape(display_name(report.reference))}; at most {MAX_SOURCES} sources. Negative is "
        "better than knowing the source.</p>" + draw_figure("plot-sources", figure)
    )


def _reliability(report: TrialsReport) -> str:
    return (
        "<p>Mean observed against mean estimated error in ten bins of the estimate, over the observed pairs of all "
        "trials; larger points stand for more pairs. The expected calibration error (ECE) is the mean distance to the "
        "dotted line, weighted by pairs; over the pairs of all trials together it can be smaller than the mean of the "
        "trials' in the table above.</p>" + draw_figure("plot-reliability", reliability_figure(report))
    )


def _stages(report: TrialsReport) -> str:
    costs = {name: _median_costs(report, name) for name in report.method_names}
    groups = [f'<th colspan="{len(STAGE_COLUMNS)}">{stage.capitalize()}</th>' for stage in STAGES]
    head = [["<th></th>", *groups], _heads("Method", *(list(STAGE_COLUMNS.values()) * len(STAGES)))]
    rows = [
        [escape(display_name(name)), *(_print(cost[s][c], STAGE_SCALES[c]) for s in STAGES for c in STAGE_COLUMNS)]
        for name, cost in costs.items()
    ]
    return (
        "<p>Medians over trials: to fit on the seen LLMs, tuning included; to onboard all evaluated LLMs by their "
        "calibration outcomes; to score all test prompts. Embedding the prompts is shared by all methods and not "
        "included. Peak: how far resident memory rose.</p>"
        + draw_table(head, rows)
        + "".join(_ratio_table(costs, base) for base in RATIO_BASES if base in costs)
    )


def _median_costs(report: TrialsReport, name: str) -> dict[str, dict[str, float | None]]:
    stages = [trial["stages"][name] for trial in report.trials]
    found = {
        s: {c: [costs[s][c] for costs in stages if costs[s][c] is not None] for c in STAGE_COLUMNS} for s in STAGES
    }
    return {s: {c: statistics.median(v) if v else None for c, v in row.items()} for s, row in found.items()}


def _ratio_table(costs: dict[str, dict[str, dict[str, float | None]]], base: str) -> str:
    def ratio(name: str, stage: str, column: str) -> str:
        mine, other = costs[name][stage][column], costs[base][stage][column]
        return "–" if mine is None or not other else f"{_print(mine / other)} ×"

    columns = [(stage, column) for stage in STAGES for column in ("wall_seconds", "cpu_seconds")]
    labels = [f"{stage.capitalize()}, {'wall' if column == 'wall_seconds' else 'CPU'}" for stage, column in columns]
    rows = [[escape(display_name(name)), *(ratio(name, *column) for column in columns)] for name in costs]
    heading = f"<h3>As a multiple of {escape(display_name(base))}</h3>"
    return heading + draw_table([_heads("Method", *labels)], rows)


def _print(value: float | int | None, scale: float = 1.0) -> str:
    """Three digits, all of those before the point."""
    if value is None:
        return "–"
    value *= scale
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def _heads(*texts: str) -> list[str]:
    return [f'<th scope="col">{escape(text)}</th>' for text in texts]
