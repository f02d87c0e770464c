"""Interactive figures over several trials."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
import torch
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from unirouter_torch.methods.registry import is_reference
from unirouter_torch.metrics.deferral import relative_cost
from unirouter_torch.metrics.records import SharesRecord, TrialRecord
from unirouter_torch.metrics.statistics import bootstrap_band
from unirouter_torch.reports.html_parts import (
    GREY,
    cost_axis,
    cost_ranges,
    digits,
    figure_of,
    line_of,
    line_with_band,
    named,
    plain,
    room_for,
)
from unirouter_torch.reports.trials_report import Sweep, TrialsReport, values_of

MAX_SOURCES = 40
MAX_LLMS = 12
SHADES = (0.0, 0.95)
"""Part of the colour map that the LLMs have, from the cheapest to the most expensive."""


def curves_figure(report: TrialsReport) -> go.Figure:
    """Mean deferral curves with 95% bands, over each single LLM at its mean where it was evaluated.

    The layout's ``meta`` holds the range of the cost axis for each of its types.
    """
    traces = [_single_llms(report)]
    shown: list[float] = []
    for name in _by_mean_area(report.method_names, report.trials):
        curves = [trial.diagnostics[name].curve for trial in report.trials]
        at, *values = (column[1:] for column in (curves[0].relative_cost, *(curve.quality for curve in curves)))
        mean, band = np.mean(values, axis=0), bootstrap_band(np.array(values, dtype=np.float64))
        area = statistics.fmean(values_of(report.trials, name, "area"))
        shape = {"shape": "hv"} if report.convention.interpolation == "step" else {}
        line = {
            "name": f"{area:.3f}  {named(name)}",
            "line": line_of(name, report.method_names) | shape,
            "text": _curve_hover(report, name, at, mean),
        }
        traces += line_with_band(
            name, at, {"mean": mean, "low": band.low, "high": band.high}, line, shows_band=name == report.reference
        )
        if not is_reference(name):
            shown += [mean.min(), mean.max()]
    y = {"title": {"text": "Mean quality"}, "range": room_for(shown)}
    legend, ranges = "Area, method", cost_ranges(report)
    return figure_of(traces, height=560, x=cost_axis(report), y=y, legend=legend, meta=ranges)


def sweep_figure(report: TrialsReport, sweep: Sweep) -> go.Figure:
    """Mean area of each method with its 95% band against the setting that was varied."""
    at = [point.value for point in sweep.points]
    traces: list[go.Scatter] = []
    shown: list[float] = []
    for name in _by_mean_area(sweep.points[0].trials[0].methods, sweep.points[-1].trials):
        areas = np.array([values_of(point.trials, name, "area") for point in sweep.points]).T
        mean, band = areas.mean(0), bootstrap_band(areas)
        line = {
            "name": named(name),
            "mode": "lines+markers",
            "line": line_of(name, report.method_names),
            "text": [
                f"<b>{named(name)}</b><br>{plain(sweep.label)}: {value:,}<br>area {m:.4f} [{low:.4f}, {high:.4f}]"
                for value, m, low, high in zip(at, mean, band.low, band.high, strict=True)
            ],
        }
        traces += line_with_band(
            name, at, {"mean": mean, "low": band.low, "high": band.high}, line, shows_band=name == report.reference
        )
        if not is_reference(name):
            shown += mean.tolist()
    ticks = {"tickvals": at, "ticktext": [f"{value:,}" for value in at]}
    x = {"title": {"text": plain(sweep.label)}, "type": "log", "minor": {"ticks": ""}} | ticks
    y = {"title": {"text": "Mean area"}, "range": room_for(shown)}
    return figure_of(traces, height=440, x=x, y=y, legend="Method")


def shares_figure(report: TrialsReport) -> go.Figure | None:
    """Share of the prompts that each LLM gets along the curve, on the first trial that kept it; None where none did.

    A trace's ``meta`` is its method; those of one method are shown. The twelve LLMs with most prompts are coloured from
    the cheapest (dark) to the most expensive (light), the others joined.
    """
    trial = next((t for t in report.trials if _shares_of(t)), None)
    if trial is None:
        return None
    kept = _shares_of(trial)
    names = list(kept)
    shown = report.reference if report.reference in names else names[0]
    traces: list[go.Scatter] = []
    costs: list[float] = []
    for name in names:
        shares = kept[name]
        costs += shares.relative_cost
        for layer in _layers(trial, np.array(shares.share)):
            group = {"stackgroup": name, "meta": name, "visible": name == shown}
            line = {"x": shares.relative_cost, "mode": "lines", "hovertemplate": "%{y:.1%}"}
            traces.append(go.Scatter(line | layer | group))
    x = cost_axis(report)
    ends = [min(costs), max(costs)]
    x["range"] = np.log10(ends).tolist() if x["type"] == "log" else ends
    y = {"title": {"text": "Share of the prompts"}, "range": [0, 1], "tickformat": ".0%"}
    figure = figure_of(traces, height=480, x=x, y=y, legend="LLM", hovermode="x unified")
    return figure.update_layout(legend_traceorder="reversed")


def sources_figure(report: TrialsReport) -> go.Figure | None:
    """Mean regret of each method on each source, where the reference's is largest first; None without any source."""
    found: dict[str, dict[str, list[float]]] = {}
    for trial in report.trials:
        for name in report.method_names:
            for source, scores in trial.diagnostics[name].sources.items():
                found.setdefault(source, {}).setdefault(name, []).append(scores.regret)
    if not found:
        return None
    regret = {source: {name: statistics.fmean(values) for name, values in row.items()} for source, row in found.items()}
    worst = sorted(regret, key=lambda source: -regret[source][report.reference])[:MAX_SOURCES]
    rivals = [name for name in report.method_names if not is_reference(name)] or report.method_names
    limit = max(abs(regret[source][name]) for source in worst for name in rivals) or 1.0
    heat = {
        "x": [named(name) for name in report.method_names],
        "y": [plain(source) for source in worst],
        "z": [digits(list(regret[source].values())) for source in worst],
        "zmin": -limit,
        "zmax": limit,
        "colorscale": [[0, "#0072B2"], [0.5, "#f7f7f7"], [1, "#D55E00"]],
        "texttemplate": "%{z:.3f}",
        "hovertemplate": "%{x}<br>%{y}<br>regret %{z:.4f}<extra></extra>",
        "xgap": 2,
        "ygap": 2,
        "colorbar": {"title": {"text": "Regret"}, "thickness": 12, "outlinewidth": 0},
    }
    x = {"side": "top", "type": "category", "showgrid": False}
    y = {"autorange": "reversed", "type": "category", "showgrid": False, "ticksuffix": "  "}
    return figure_of([go.Heatmap(heat)], height=150 + 28 * len(worst), x=x, y=y)


def reliability_figure(report: TrialsReport) -> go.Figure:
    """Mean observed against mean estimated error in ten bins of the estimate, over the pairs of all trials."""
    pooled = {name: _pool_bins(report.trials, name) for name in report.method_names}
    line = {"color": GREY, "width": 1, "dash": "dot"}
    traces = [go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip", name="Estimated = observed")]
    for name in sorted(pooled, key=lambda name: _calibration_error(*pooled[name])):
        count, estimated, observed = pooled[name]
        trace = {
            "x": digits(estimated),
            "y": digits(observed),
            "mode": "lines+markers",
            "name": f"{_calibration_error(*pooled[name]):.3f}  {named(name)}",
            "line": line_of(name, report.method_names) | {"width": 1.5},
            "marker": {"size": digits(4 + 14 * np.sqrt(count / count.sum()), 1)},
            "visible": "legendonly" if is_reference(name) else True,
            "hoverinfo": "text",
            "text": [
                f"<b>{named(name)}</b><br>estimated error {e:.4f}<br>observed error {o:.4f}<br>{c:,.0f} pairs"
                for c, e, o in zip(count, estimated, observed, strict=True)
            ],
        }
        traces.append(go.Scatter(trace))
    x, y = ({"title": {"text": f"Mean {kind} error"}, "range": [-0.02, 1.02]} for kind in ("estimated", "observed"))
    return figure_of(traces, height=560, x=x, y=y, legend="Calibration error, method")


def _by_mean_area(names: Iterable[str], trials: list[TrialRecord]) -> list[str]:
    return sorted(names, key=lambda name: -statistics.fmean(values_of(trials, name, "area")))


def _curve_hover(report: TrialsReport, name: str, at: list[float], mean: NDArray[np.float64]) -> list[str]:
    """Method, cost weight, cost and quality of each point of a mean curve; the weight is the median over trials."""
    costs = [[llm.cost for llm in trial.llms] for trial in report.trials]
    most_expensive = statistics.fmean(max(cost) for cost in costs)
    origin = statistics.fmean(min(cost) for cost in costs) if report.convention.cost_axis == "range" else 0.0
    weights = [trial.diagnostics[name].curve.cost_weight[1:] for trial in report.trials]
    unit = plain(report.table["cost_unit"])
    return [
        f"<b>{named(name)}</b><br>quality {quality:.4f}<br>relative cost {where:.4g}"
        f"<br>cost {origin + where * (most_expensive - origin):.3g} {unit}<br>cost weight {_print_median(found)}"
        for quality, where, found in zip(mean, at, zip(*weights, strict=True), strict=True)
    ]


def _print_median(weights: Sequence[float | None]) -> str:
    found = [weight for weight in weights if weight is not None]
    return f"{statistics.median(found):.3g}" if found else "none: no LLM is as cheap"


def _single_llms(report: TrialsReport) -> go.Scatter:
    found: dict[str, list[tuple[float, float, float]]] = {}
    for trial in report.trials:
        cost = torch.tensor([llm.cost for llm in trial.llms], dtype=torch.float64)
        for llm, at in zip(trial.llms, relative_cost(cost, cost, report.convention).tolist(), strict=True):
            if llm.quality is not None:
                found.setdefault(llm.name, []).append((at, llm.quality, llm.cost))
    mean = {name: [statistics.fmean(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    unit = plain(report.table["cost_unit"])
    return go.Scatter(
        x=digits([values[0] for values in mean.values()], 7),
        y=digits([values[1] for values in mean.values()]),
        mode="markers",
        marker={"color": GREY, "size": 6, "opacity": 0.6},
        name="Single LLMs",
        hoverinfo="text",
        text=[
            f"<b>{plain(name)}</b><br>quality {quality:.4f}<br>relative cost {at:.4g}<br>cost {cost:.3g} {unit}"
            f"<br>evaluated in {len(found[name])} of {len(report.trials)} trials"
            for name, (at, quality, cost) in mean.items()
        ],
    )


def _shares_of(trial: TrialRecord) -> dict[str, SharesRecord]:
    return {name: diagnostics.shares for name, diagnostics in trial.diagnostics.items() if diagnostics.shares}


def _layers(trial: TrialRecord, share: NDArray[np.float64]) -> list[dict[str, Any]]:
    """One trace for each of the LLMs with most prompts, the cheapest first, and one for all others."""
    llms = trial.llms
    by_cost = sorted(range(len(llms)), key=lambda llm: llms[llm].cost)
    shades = [to_hex(shade) for shade in mpl.colormaps["viridis"](np.linspace(*SHADES, len(llms)))]
    largest = {llm for llm in np.argsort(-share.mean(0), kind="stable")[:MAX_LLMS].tolist() if share[:, llm].any()}
    layers = [
        (plain(llms[llm].name), share[:, llm], shade)
        for llm, shade in zip(by_cost, shades, strict=True)
        if llm in largest
    ]
    others = share[:, [llm for llm in by_cost if llm not in largest]]
    if others.any():
        number = int(others.any(0).sum())
        layers.append((f"{number} other{'s' if number > 1 else ''}", others.sum(1), GREY))
    return [
        {"name": name, "y": digits(values), "line": {"width": 0.5, "color": colour}, "fillcolor": colour}
        for name, values, colour in layers
    ]


def _pool_bins(trials: list[TrialRecord], name: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Pairs, mean estimated and mean observed error of the bins that are not empty, over all trials."""
    bins = [trial.diagnostics[name].reliability for trial in trials]
    count = np.array([one.count for one in bins])
    total = count.sum(0)
    used = total > 0
    estimated, observed = (
        (count * np.array(means, dtype=np.float64)).sum(0, where=count > 0)[used] / total[used]
        for means in ([one.estimated for one in bins], [one.observed for one in bins])
    )
    return total[used], estimated, observed


def _calibration_error(count: NDArray[Any], estimated: NDArray[Any], observed: NDArray[Any]) -> float:
    return float((count * np.abs(estimated - observed)).sum() / count.sum())
