"""One picture for each stress."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from unirouter_torch.evaluation.report import display_name, method_looks
from unirouter_torch.evaluation.stress import STRESSES
from unirouter_torch.evaluation.stress_summary import Cell, StressSummary
from unirouter_torch.evaluation.trials_figures import REFERENCES

GAPS = {"mean_gap": "Mean gap", "expected_max_gap": "Expected maximal gap", "max_gap": "Maximal gap"}


def draw_stress(stress: StressSummary, *, table_name: str, reference: str) -> bytes:
    """Means with 95% intervals of each method at each level, as a PNG file.

    What no router may know is left out where areas are drawn, so that the axes show where routers differ.

    Args:
        stress: At least one measured cell.
        table_name: For the title.
        reference: The method whose interval is drawn the strongest.
    """
    trials = f"{stress.num_trials} trial{'s' if stress.num_trials > 1 else ''}"
    title = f"{STRESSES[stress.name].title} on {table_name}, mean of {trials}"
    if "mean_gap" in stress.figures:
        return _draw_gaps(stress, title)
    if "area" not in stress.figures:
        return _draw_rows(stress, title)
    return _draw_levels(stress, title, reference)


def _draw_levels(stress: StressSummary, title: str, reference: str) -> bytes:
    figure, axes = _figure(9.4)
    names = [name for name in stress.methods if name not in REFERENCES] or stress.methods
    looks = method_looks(names)
    is_ordered = STRESSES[stress.name].is_ordered
    for number, name in enumerate(names):
        look = looks[name] | ({} if is_ordered else {"linestyle": "none"})
        found = [(at, level) for at, level in enumerate(stress.levels) if (level, name, "area") in stress.cells]
        cells = [stress.cells[level, name, "area"] for _, level in found]
        spread = 0.0 if is_ordered else 0.6 * ((number + 0.5) / len(names) - 0.5)
        at = np.array([place for place, _ in found]) + spread
        means = [cell.mean for cell in cells]
        if is_ordered:
            low, high = [cell.low for cell in cells], [cell.high for cell in cells]
            opacity = 0.13 if name == reference else 0.05
            axes.fill_between(at, low, high, color=looks[name]["color"], alpha=opacity, lw=0)
            axes.plot(at, means, label=display_name(name), marker="o", ms=4, **look)
        else:
            marker = "os^Dv"[number // 6 % 5]
            axes.errorbar(
                at, means, _reach(cells), label=display_name(name), marker=marker, ms=5, elinewidth=1.2, **look
            )
    axes.set_xticks(range(len(stress.levels)), stress.levels)
    axes.set_xlim(-0.5, len(stress.levels) - 0.5)
    axes.set_xlabel(STRESSES[stress.name].axis)
    axes.set_ylabel("Area under the deferral curve")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    _legend(figure, axes)
    return _finish(figure, [axes])


def _draw_rows(stress: StressSummary, title: str) -> bytes:
    (key,) = stress.figures
    cells = {method: stress.cells[stress.levels[0], method, key] for method in stress.methods}
    names = sorted(cells, key=lambda name: -cells[name].mean)
    figure, axes = _figure(7.4, height=1.4 + 0.3 * len(names))
    looks = method_looks(names)
    for row, name in enumerate(names):
        cell, colour = cells[name], looks[name]["color"]
        axes.errorbar(cell.mean, row, xerr=_reach([cell]), marker="o", ms=6, elinewidth=1.6, color=colour)
    axes.set_yticks(range(len(names)), [display_name(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(f"{STRESSES[stress.name].axis} (the further left the better)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return _finish(figure, [axes])


def _draw_gaps(stress: StressSummary, title: str) -> bytes:
    figure = Figure(figsize=(11, 4.2), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, len(GAPS), sharex=True))
    for axes, (key, label) in zip(panels, GAPS.items(), strict=True):
        for number, method in enumerate(stress.methods):
            levels = sorted((level for level in stress.levels if (level, method, key) in stress.cells), key=int)
            _draw_gap(axes, stress, method, levels, key, f"C{number}")
        axes.set_xscale("log")
        at = sorted({int(level) for level in stress.levels})
        axes.set_xticks(at, [str(value) for value in at], fontsize=8)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Clusters")
        axes.set_ylabel(label)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    panels[0].legend(frameon=False, fontsize=8)
    return _finish(figure, panels)


def _draw_gap(axes: Axes, stress: StressSummary, method: str, levels: list[str], key: str, colour: str) -> None:
    at = [int(level) for level in levels]
    for figure, style, label in ((key, "-", "measured"), (f"{key}_floor", ":", "with exact cluster errors")):
        cells = [stress.cells[level, method, figure] for level in levels]
        means = [cell.mean for cell in cells]
        marker = "o" if figure == key else "x"
        line = f"{display_name(method)}, {label}"
        axes.errorbar(at, means, _reach(cells), color=colour, linestyle=style, marker=marker, ms=4, label=line)


def _reach(cells: list[Cell]) -> np.ndarray:
    """Distances from the means to the two ends of the intervals, as matplotlib takes them."""
    return np.array([[max(0.0, c.mean - c.low) for c in cells], [max(0.0, c.high - c.mean) for c in cells]])


def _figure(width: float, height: float = 5.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8.5, handlelength=3.2)


def _finish(figure: Figure, panels: list[Axes]) -> bytes:
    for axes in panels:
        axes.grid(color="0.92", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
