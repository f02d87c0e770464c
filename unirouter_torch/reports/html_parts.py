"""What the interactive figures share: text, lines, bands, axes."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.basedatatypes import BaseTraceType

from unirouter_torch.reports.labels import label_of
from unirouter_torch.reports.looks import LOG_SPAN, ORACLE, method_looks
from unirouter_torch.reports.trials_report import TrialsReport

GREY = "#888888"
"""Legible on white and on black."""


def plain(text: str) -> str:
    """Text that plotly.js shows as it is, rather than reading mark-up in it."""
    return html.escape(text, quote=False)


def named(method: str) -> str:
    """How a method is called in a legend or under the pointer."""
    return plain(label_of(method))


def line_of(method: str, names: list[str]) -> dict[str, Any]:
    """Colour, width and dashes of a method among others: those of the PNG, but for the black of the oracle."""
    look = method_looks(names)[method]
    style, width = look["linestyle"], 1.25 * look["lw"]
    dash = "solid" if style == "-" else ",".join(f"{width * length:.1f}px" for length in style[1])
    return {"color": GREY if method == ORACLE else look["color"], "width": width, "dash": dash}


def visibility_of(method: str) -> bool | str:
    """The oracle is hidden at first: beside it the others could not be distinguished."""
    return "legendonly" if method == ORACLE else True


def line_with_band(
    method: str,
    at: Sequence[float | int],
    values: dict[str, NDArray[np.float64]],
    line: dict[str, Any],
    *,
    shows_band: bool,
) -> list[go.Scatter]:
    """A line with a band behind it; its entry in the legend shows and hides both.

    Args:
        method: Name of the method.
        at: Where the values lie, rising.
        values: ``mean``, ``low`` and ``high``.
        line: The rest of the line's trace: ``line``, ``name``, ``text`` and so on.
        shows_band: Whether the band is there at first; else the page's switch brings it, for many bands hide the lines.
    """
    common = {"legendgroup": method, "visible": visibility_of(method), "hoverinfo": "text"}
    band = {
        "x": [*at, *reversed(at)],
        "y": digits([*values["high"], *reversed(values["low"])]),
        "mode": "lines",
        "line": {"width": 0},
        "fill": "toself",
        "fillcolor": f"{line['line']['color']}22",
        "hoverinfo": "skip",
        "showlegend": False,
        "meta": "band",
    }
    if not shows_band:
        band["visible"] = False
    mean = {"x": list(at), "y": digits(values["mean"]), "mode": "lines"}
    return [go.Scatter(common | band), go.Scatter(common | mean | line)]


def figure_of(
    traces: Sequence[BaseTraceType],
    *,
    height: int,
    x: dict[str, Any],
    y: dict[str, Any],
    legend: str = "",
    **layout: Any,
) -> go.Figure:
    """A figure with the legend on its right; colours come from the page.

    Args:
        traces: What is drawn.
        height: [pixels].
        x: Its axis, as plotly takes it.
        y: Its axis.
        legend: Title of the legend.
        layout: Anything else, as plotly takes it.
    """
    common = {
        "height": height,
        "margin": {"l": 64, "r": 16, "t": 32, "b": 56},
        "hovermode": "closest",
        "legend": {"title": {"text": legend}, "tracegroupgap": 0},
        "xaxis": x,
        "yaxis": y,
        "template": None,
    }
    return go.Figure(list(traces), common | layout)


def cost_axis(report: TrialsReport) -> dict[str, Any]:
    """The axis of relative cost: logarithmic where costs span more than 20-fold."""
    is_range = report.convention.cost_axis == "range"
    unit = "0 = cheapest, 1 = most expensive" if is_range else "1 = most expensive"
    kind = "log" if is_logarithmic(report) else "linear"
    ticks = {"dtick": "D2" if kind == "log" else None, "tickformat": "~g"}
    title = {"text": f"Relative cost ({unit})"}
    return {"title": title, "type": kind, "range": cost_ranges(report)[kind]} | ticks


def cost_ranges(report: TrialsReport) -> dict[str, list[float]]:
    """From the cheapest LLM of any trial to the most expensive, for either type of axis, as plotly.js takes it."""
    least = min(_cheapest(report))
    return {"linear": [-0.02, 1.03]} | ({"log": [float(np.log10(0.8 * least)), 0.03]} if least > 0 else {})


def is_logarithmic(report: TrialsReport) -> bool:
    """Whether costs span more than 20-fold and start above 0."""
    cheapest = _cheapest(report)
    return report.convention.cost_axis == "dearest" and min(cheapest) > 0 and LOG_SPAN * float(np.median(cheapest)) < 1


def room_for(values: list[float]) -> list[float]:
    """Range of an axis that shows some values, the whole unit interval where there are none."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = max(high - low, 0.02)
    return [low - 0.08 * span, high + 0.15 * span]


def digits(values: Any, decimals: int = 5) -> list[float]:
    """Numbers short enough for a page."""
    rounded: list[float] = np.round(np.asarray(values, dtype=np.float64), decimals).tolist()
    return rounded


def _cheapest(report: TrialsReport) -> list[float]:
    """Cost of each trial's cheapest LLM over that of its most expensive one."""
    costs = [[llm.cost for llm in trial.llms] for trial in report.trials]
    return [min(cost) / (max(cost) or 1.0) for cost in costs]
