"""The picture of a run: deferral curves of all methods over the single LLMs of the pool."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox
from torch import Tensor

from unirouter_torch.methods.registry import display_name
from unirouter_torch.metrics.deferral import DeferralCurve, relative_cost
from unirouter_torch.metrics.scores import MethodScores
from unirouter_torch.reports.looks import LOG_SPAN, ORACLE, method_looks

if TYPE_CHECKING:
    from unirouter_torch.reports.report import EvaluationReport

MAX_CURVE_POINTS = 200
MAX_LABELS = 20
LABEL_SPOTS: tuple[Any, ...] = (
    ((4, 0), "left", "center"),
    ((-4, 0), "right", "center"),
    ((0, 4), "center", "bottom"),
    ((0, -4), "center", "top"),
    ((3, 3), "right", "bottom"),
    ((3, -3), "right", "top"),
    ((-3, 3), "left", "bottom"),
    ((-3, -3), "left", "top"),
)
"""Where a label may stand beside its point [points], the first free spot wins."""


def thin_curve(curve: DeferralCurve) -> DeferralCurve:
    """At most 200 points of the curve, evenly spaced in their order, with both ends and the peak among them."""
    num_points = len(curve.cost)
    if num_points <= MAX_CURVE_POINTS:
        return curve
    even = torch.linspace(0, num_points - 1, MAX_CURVE_POINTS - 1, dtype=torch.float64).round().long()
    kept = torch.tensor(sorted({*even.tolist(), int(curve.quality.argmax())}))
    return DeferralCurve(*(values[kept] for values in curve))


def draw_curves(report: "EvaluationReport") -> bytes:
    """Deferral curves of all methods over the single LLMs of the pool, as a PNG file.

    The axes show where routers differ; the oracle, thin and dashed, may leave them, so the legend names its peak.
    """
    figure = Figure(figsize=(8.6, 4.8), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    at = relative_cost(report.llm_cost, report.llm_cost, report.convention)
    _set_axes(axes, report, at)
    _draw_methods(axes, report)
    num_below = int((report.llm_quality < axes.get_ylim()[0]).sum())
    label = "Single LLMs" + (f" ({num_below} more below)" if num_below else "")
    axes.scatter(at, report.llm_quality, s=18, color="0.55", linewidths=0.5, edgecolors="white", zorder=4, label=label)
    handles, labels = axes.get_legend_handles_labels()
    look = {"frameon": False, "fontsize": 8.5, "title_fontsize": 8.5, "handlelength": 3.2, "alignment": "left"}
    figure.legend(handles, labels, loc="outside right upper", title="Area under the curve", **look)
    figure.draw_without_rendering()
    _label_llms(axes, report.llm_names, at, report.llm_quality)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw_methods(axes: Axes, report: "EvaluationReport") -> None:
    looks = method_looks(report.methods)
    for name, scores in sorted(report.methods.items(), key=lambda item: -_area_of(item[1])):
        curve = thin_curve(scores.curve)
        at = relative_cost(curve.cost, report.llm_cost, report.convention).flip(0).numpy()
        quality = curve.quality.flip(0).numpy()
        if report.convention.interpolation == "step":
            looks[name]["drawstyle"] = "steps-post"
        elif axes.get_xscale() == "log":
            # a mixture of two routers is straight in cost, not in its logarithm
            dense = np.union1d(at, np.geomspace(at[0], at[-1], MAX_CURVE_POINTS))
            at, quality = dense, np.interp(dense, at, quality)
        peak = f"\n(peak accuracy {scores.figures['peak_accuracy']:.3f})" if name == ORACLE else ""
        label = f"{_area_of(scores):.3f}  {display_name(name)}{peak}"
        axes.plot(at, quality, label=label, zorder=2 + _area_of(scores), **looks[name])


def _area_of(scores: MethodScores) -> float:
    area = scores.figures["area"]
    assert area is not None
    return area


def _set_axes(axes: Axes, report: "EvaluationReport", at: Float[Tensor, " llm"]) -> None:
    table, convention = report.table, report.convention
    low, high = _quality_limits(report)
    axes.set_ylim(low, high)
    if convention.cost_axis == "dearest" and 0 < LOG_SPAN * float(at.min()) < 1:
        axes.set_xscale("log")
        axes.set_xlim(0.8 * float(at.min()), 1.25)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(-0.02, 1.03)
    unit = "0 = cheapest, 1 = most expensive LLM" if convention.cost_axis == "range" else "1 = most expensive LLM"
    estimated = ", estimated" if table["is_estimate"] else ""
    axes.set_xlabel(f"Mean relative cost ({unit}; from {table['cost_unit']}{estimated})")
    axes.set_ylabel("Mean quality")
    axes.set_title(report.title(), loc="left", fontsize=11, fontweight="bold")
    axes.grid(color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _quality_limits(report: "EvaluationReport") -> tuple[float, float]:
    """Room for every curve but the oracle's, and for single LLMs that are not far below them."""
    rivals = [scores for name, scores in report.methods.items() if name != ORACLE] or list(report.methods.values())
    single = report.llm_quality[~report.llm_quality.isnan()].double()
    low = min(float(scores.curve.quality.min()) for scores in rivals)
    high = float(torch.cat([single, *(scores.curve.quality for scores in rivals)]).max())
    span = max(high - low, 0.02)
    low = float(torch.cat([single[single >= low - 0.25 * span], single.new_tensor([low])]).min())
    return low - 0.08 * span, high + 0.15 * span


def _label_llms(axes: Axes, names: list[str], at: Float[Tensor, " llm"], quality: Float[Tensor, " llm"]) -> None:
    """Name some LLMs, the undominated and then the best ones first, where the text covers nothing else."""
    curves = [line.get_path().transformed(line.get_transform()) for line in axes.lines]
    quality = quality.double().nan_to_num(-1.0)
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in axes.transData.transform(torch.stack([at, quality], 1))]
    is_dominated = ((at <= at[:, None]) & (quality > quality[:, None])).any(1)
    for llm in (is_dominated * 2.0 - quality).argsort().tolist()[:MAX_LABELS]:
        for offset, side, height in LABEL_SPOTS:
            text, point = _shorten(names[llm]), (float(at[llm]), float(quality[llm]))
            label = axes.annotate(
                text, point, offset, textcoords="offset points", ha=side, va=height, fontsize=6.5, color="0.35"
            )
            label.set_in_layout(False)
            box = label.get_window_extent()
            is_inside = axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max)
            if is_inside and not box.count_overlaps(taken) and not any(c.intersects_bbox(box, False) for c in curves):
                taken.append(box)
                break
            label.remove()


def _shorten(name: str) -> str:
    name = name.rsplit("/", 1)[-1]
    return name if len(name) <= 24 else name[:23] + "…"
