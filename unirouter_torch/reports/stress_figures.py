"""One picture for each stress."""

import io
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from unirouter_torch.methods.registry import display_name, is_reference
from unirouter_torch.metrics.stress_summary import Cell, StressSummary
from unirouter_torch.reports.looks import COLOURS, method_looks
from unirouter_torch.reports.stresses import STRESSES

GAPS = {
    "mean_gap": "Mean gap",
    "expected_max_gap": "Expected maximal gap",
    "max_gap": "Maximal gap",
    "covered": "Share of the outcomes covered",
}


def draw_stress(stress: StressSummary, *, table_name: str) -> bytes:
    """Means with 95% intervals of each method at each level, as a PNG file.

    Where there are several levels, what no router may know is left out, so that the axes show where routers differ.

    Args:
        stress: At least one measured cell.
        table_name: For the title.
    """
    about = STRESSES[stress.name]
    title = f"{about.title} on {table_name}, mean of {stress.count_trials()}"
    if "mean_gap" in stress.figures:
        return _draw_gaps(stress, title)
    if "area" not in stress.figures:
        return _draw_rows(stress, title, stress.figures[0], about.axis)
    if not about.is_ordered:
        return _draw_losses(stress, title)
    if len(stress.levels) == 2:
        return _draw_rows(stress, title, "loss", f"Loss of area: {stress.levels[0]} minus {stress.levels[1]}")
    return _draw_lines(stress, title)


def _draw_lines(stress: StressSummary, title: str) -> bytes:
    """Areas against rising levels, with the interval of the reference method."""
    figure, axes = _figure(9.4)
    looks = method_looks(stress.methods)
    last = {name: stress.cells[level, name, "area"].mean for level, name, _ in stress.cells}
    for name in sorted(_drawn(stress), key=lambda name: -last[name]):
        found = [(at, level) for at, level in enumerate(stress.levels) if (level, name, "area") in stress.cells]
        cells = [stress.cells[level, name, "area"] for _, level in found]
        at = [place for place, _ in found]
        axes.plot(at, [cell.mean for cell in cells], label=display_name(name), marker="o", ms=4, **looks[name])
        if name == stress.reference:
            low, high = [cell.low for cell in cells], [cell.high for cell in cells]
            label = f"{display_name(name)}, 95% interval"
            axes.fill_between(at, low, high, color=looks[name]["color"], alpha=0.12, lw=0, label=label)
    axes.set_xticks(range(len(stress.levels)), stress.levels)
    axes.set_xlabel(STRESSES[stress.name].axis)
    axes.set_ylabel("Area under the deferral curve")
    return _finish(figure, [axes], title, legend_of=axes)


def _draw_losses(stress: StressSummary, title: str) -> bytes:
    """Losses of area side by side at levels without an order."""
    figure, axes = _figure(9.4)
    names, levels = _drawn(stress), stress.levels[1:]
    looks = method_looks(stress.methods)
    for number, name in enumerate(names):
        found = [(at, level) for at, level in enumerate(levels) if (level, name, "loss") in stress.cells]
        cells = [stress.cells[level, name, "loss"] for _, level in found]
        at = np.array([place for place, _ in found]) + 0.7 * ((number + 0.5) / len(names) - 0.5)
        marker = "os^Dv"[list(looks).index(name) // len(COLOURS) % 5]
        look: dict[str, Any] = {"color": looks[name]["color"], "marker": marker, "label": display_name(name)}
        axes.errorbar(at, [cell.mean for cell in cells], _reach(cells), ls="none", ms=5, elinewidth=1.2, **look)
    axes.axhline(0.0, color="0.4", lw=0.8, zorder=1)
    for edge in range(1, len(levels)):
        axes.axvline(edge - 0.5, color="0.85", lw=0.8)
    axes.set_xticks(range(len(levels)), levels)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(levels) - 0.5)
    axes.set_ylabel(f"Loss of area against test prompts {stress.levels[0]}")
    return _finish(figure, [axes], title, legend_of=axes, grid="y")


def _draw_rows(stress: StressSummary, title: str, key: str, label: str) -> bytes:
    """One figure at the last level, with a row for each method, the best one on top."""
    cells = {method: stress.cells[level, method, key] for level, method, figure in stress.cells if figure == key}
    names = sorted(cells, key=lambda name: -cells[name].mean)
    figure, axes = _figure(7.4, height=1.4 + 0.3 * len(names))
    looks = method_looks(stress.methods)
    for row, name in enumerate(names):
        colour = looks[name]["color"] if name == stress.reference else "0.35"
        axes.errorbar(cells[name].mean, row, xerr=_reach([cells[name]]), marker="o", ms=6, elinewidth=1.6, color=colour)
    axes.axvline(0.0, color="0.4", lw=0.8, zorder=1)
    axes.set_yticks(range(len(names)), [display_name(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(f"{label} (the further left the better)")
    return _finish(figure, [axes], title)


def _draw_gaps(stress: StressSummary, title: str) -> bytes:
    """Gaps of Proposition 2 and what they cover, against the number of clusters."""
    figure = Figure(figsize=(9.4, 7.0), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(2, 2, sharex=True).flat)
    for axes, (key, label) in zip(panels, GAPS.items(), strict=True):
        for number, method in enumerate(stress.methods):
            _draw_gap(axes, stress, method, key, f"C{number}")
        axes.set_xscale("log")
        at = sorted({int(level) for level in stress.levels})
        axes.set_xticks(at, [str(value) for value in at])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
    for axes in panels[2:]:
        axes.set_xlabel("Clusters")
    return _finish(figure, panels, title, legend_of=panels[0])


def _draw_gap(axes: Axes, stress: StressSummary, method: str, key: str, colour: str) -> None:
    levels = sorted((level for level in stress.levels if (level, method, key) in stress.cells), key=int)
    at = [int(level) for level in levels]
    lines = {key: ("-", "o", "measured"), f"{key}_floor": (":", "x", "floor")}
    for figure, (style, marker, label) in lines.items():
        if figure in stress.figures:
            cells = [stress.cells[level, method, figure] for level in levels]
            look: dict[str, Any] = {"color": colour, "linestyle": style, "marker": marker, "ms": 4}
            means, name = [cell.mean for cell in cells], f"{display_name(method)}, {label}"
            axes.errorbar(at, means, _reach(cells), label=name, **look)


def _drawn(stress: StressSummary) -> list[str]:
    """The methods without those that would stretch the axes; all where there are no others."""
    return [name for name in stress.methods if not is_reference(name)] or stress.methods


def _reach(cells: list[Cell]) -> np.ndarray:
    """Distances from the means to the two ends of the intervals, as matplotlib takes them."""
    return np.array([[max(0.0, c.mean - c.low) for c in cells], [max(0.0, c.high - c.mean) for c in cells]])


def _figure(width: float, height: float = 5.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _finish(
    figure: Figure,
    panels: list[Axes],
    title: str,
    *,
    legend_of: Axes | None = None,
    grid: Literal["both", "y"] = "both",
) -> bytes:
    for axes in panels:
        axes.grid(axis=grid, color="0.92", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    if legend_of is not None:
        handles, labels = legend_of.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8.5, handlelength=3.2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
