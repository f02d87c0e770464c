"""Figures over several trials: mean deferral curves with bands, and sweeps."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from unirouter_torch.methods.registry import display_name, is_reference
from unirouter_torch.metrics.statistics import bootstrap_band
from unirouter_torch.reports.looks import HIGHLIGHTED, method_looks
from unirouter_torch.reports.trials_report import Sweep, TrialsReport, values_of


def draw_mean_curves(report: TrialsReport) -> bytes:
    """Mean deferral curves over the trials with 95% bands of the reference method, as a PNG file."""
    figure, axes = _figure()
    looks = method_looks(report.method_names)
    low, high = 1.0, 0.0
    areas = {name: float(np.mean(values_of(report.trials, name, "area"))) for name in report.method_names}
    for name in sorted(report.method_names, key=lambda name: -areas[name]):
        curves = [trial.diagnostics[name].curve for trial in report.trials]
        at = np.array(curves[0].relative_cost)
        quality = np.array([curve.quality for curve in curves], dtype=np.float64)
        mean = quality.mean(0)
        axes.plot(at, mean, label=f"{areas[name]:.3f}  {display_name(name)}", **looks[name])
        if not is_reference(name):
            low, high = min(low, mean.min()), max(high, mean.max())
        if name == report.reference:
            band = bootstrap_band(quality)
            axes.fill_between(at, band.low, band.high, color=looks[name]["color"], alpha=0.12, lw=0)
    axes.set_xscale("symlog", linthresh=0.01, linscale=0.5)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(low - 0.05 * (high - low), min(high + 0.35 * (high - low), 1.02))
    unit = (
        "0 = cheapest, 1 = most expensive LLM" if report.convention.cost_axis == "range" else "1 = most expensive LLM"
    )
    axes.set_xlabel(f"Mean relative cost ({unit}), logarithmic above 0.01")
    axes.set_ylabel("Mean quality")
    axes.set_title(f"{report.title()}, mean of {len(report.trials)} trials", loc="left", fontsize=11, fontweight="bold")
    return _finish(figure, axes, "Mean area")


def draw_sweep(sweep: Sweep) -> bytes:
    """Mean area of each method against the setting that was varied, as a PNG file.

    The end-to-end router has its 95% band, or every method where it is not among them.
    """
    figure, axes = _figure()
    looks = method_looks(sweep.points[0].trials[0].methods)
    names = [name for name in looks if not is_reference(name)]
    at = [point.value for point in sweep.points]
    for name in names:
        areas = np.array([values_of(point.trials, name, "area") for point in sweep.points]).T
        band = bootstrap_band(areas)
        axes.plot(at, areas.mean(0), label=display_name(name), marker="o", ms=3, **looks[name])
        if name == HIGHLIGHTED or HIGHLIGHTED not in names:
            axes.fill_between(at, band.low, band.high, color=looks[name]["color"], alpha=0.12, lw=0)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(at, [str(value) for value in at])
    axes.set_xlabel(sweep.label)
    axes.set_ylabel("Mean area under the deferral curve")
    return _finish(figure, axes, f"{len(sweep.points[0].trials)} trials a value")


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9.4, 5.2), dpi=180, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _finish(figure: Figure, axes: Axes, legend_title: str) -> bytes:
    axes.grid(color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    look: dict[str, object] = {"frameon": False, "fontsize": 8.5, "title_fontsize": 8.5, "handlelength": 3.2}
    figure.legend(handles, labels, loc="outside right upper", title=legend_title, alignment="left", **look)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
