"""One evaluation as JSON, as a Markdown table, and as a figure of deferral curves."""

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox
from torch import Tensor

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.methods.end_to_end import EndToEnd
from unirouter_torch.methods.oracle import Oracle
from unirouter_torch.methods.registry import display_name
from unirouter_torch.metrics.deferral import DEFAULT_CONVENTION, DeferralCurve, relative_cost
from unirouter_torch.metrics.figures import FIGURES, FigureOfMerit
from unirouter_torch.metrics.scores import MethodScores
from unirouter_torch.shapes import CostVector
from unirouter_torch.storage import write_atomically, write_json

ORACLE = Oracle.name
MAX_CURVE_POINTS = 200

# Okabe and Ito's palette, told apart by colour-blind readers; line styles of another period give 30 combinations
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINE_STYLES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (6, 1.5, 1, 1.5)), (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)))
HIGHLIGHTED = EndToEnd.name
"""Method that is drawn in the first colour, as a solid line."""

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

LOG_SPAN = 20.0
"""Costs that span more than this factor are drawn on a logarithmic axis."""


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """How several routing methods did on one table, one split and one pool of LLMs.

    Attributes:
        table: What was evaluated on: ``name``, ``num_prompts``, ``num_llms``, ``observed_fraction``, ``content_hash``,
            ``cost_unit``, ``cost_rule`` (how the costs came about), ``is_estimate`` (whether they are estimates), and
            anything else that is JSON.
        split: How prompts and LLMs were split, as JSON.
        methods: Scores by the name of the method.
        llm_names: LLMs of the evaluated pool.
        llm_cost: Cost of one prompt for each of them [``cost_unit``].
        llm_quality: Mean quality of each of them alone, in [0, 1]; NaN without any outcome.
        convention: How the curves were read.
    """

    table: dict[str, Any]
    split: dict[str, Any]
    methods: dict[str, MethodScores]
    llm_names: list[str]
    llm_cost: CostVector
    llm_quality: Float[Tensor, " llm"]
    convention: CurveConvention = DEFAULT_CONVENTION

    def title(self) -> str:
        """The table's name and whether the pool is the unseen LLMs or, where none were kept apart, all of them."""
        pool = "unseen LLMs" if len(self.llm_names) < self.table["num_llms"] else "all LLMs"
        return f"{self.table['name']}: {pool}"

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; a quality-neutral cost that is never reached is null, and so is NaN.

        Returns:
            ``table``, ``split``, ``methods`` (figures of merit by name), ``convention``, ``single_llms`` and ``curves``
            (at most 200 points each).
        """
        singles = zip(self.llm_names, self.llm_cost.tolist(), self.llm_quality.tolist(), strict=True)
        return {
            "table": self.table,
            "split": self.split,
            "methods": {name: scores.figures for name, scores in self.methods.items()},
            "convention": asdict(self.convention),
            "single_llms": [
                {"name": name, "cost": cost, "quality": quality if quality == quality else None}
                for name, cost, quality in singles
            ],
            "curves": {
                name: {axis: values.tolist() for axis, values in thin_curve(scores.curve)._asdict().items()}
                for name, scores in self.methods.items()
            },
        }

    def to_markdown(self) -> str:
        """A table with one row for each method, the best of each column (the oracle apart) in bold, and notes."""
        lines = [f"# {self.title()}", ""]
        for table in ("merit", "saving"):
            lines += [*self._table([figure for figure in FIGURES if figure.table == table]), ""]
        return "\n".join([*lines, *self._notes()]) + "\n"

    def write(self, folder: Path) -> None:
        """Write ``results.json``, ``results.md`` and ``curves.png`` into ``folder``, each atomically."""
        write_json(folder / "results.json", self.to_json())
        write_atomically(folder / "results.md", self.to_markdown().encode("utf-8"))
        write_atomically(folder / "curves.png", draw_curves(self))

    def _table(self, figures: list[FigureOfMerit]) -> list[str]:
        best = {figure.key: self._best(figure) for figure in figures}
        lines = [
            f"| Method | {' | '.join(figure.head for figure in figures)} |",
            f"|---|{'---:|' * len(figures)}",
        ]
        for name, scores in self.methods.items():
            texts = {figure.key: _print_figure(figure, scores.figures[figure.key]) for figure in figures}
            cells = [f"**{text}**" if name != ORACLE and text == best[key] else text for key, text in texts.items()]
            lines.append(f"| {display_name(name)} | {' | '.join(cells)} |")
        return lines

    def _best(self, figure: FigureOfMerit) -> str | None:
        """The best value as printed, so that equal prints are equally bold; None when no method has one."""
        best = figure.best(scores.figures[figure.key] for name, scores in self.methods.items() if name != ORACLE)
        return None if best is None else _print_figure(figure, best)

    def _notes(self) -> list[str]:
        table, convention = self.table, self.convention
        estimated = " (estimated)" if table["is_estimate"] else ""
        axis = (
            "over the dearest LLM's"
            if convention.cost_axis == "dearest"
            else "from the cheapest LLM (0) to the dearest (1)"
        )
        return [
            f"- {table['num_prompts']:,} prompts, {table['num_llms']:,} LLMs, {table['observed_fraction']:.0%} of the "
            f"outcomes observed; {len(self.llm_names)} LLMs in the evaluated pool.",
            f"- Cost in {table['cost_unit']}{estimated}: {table['cost_rule']}.",
            f"- Relative cost: the cost {axis}; interpolation: {convention.interpolation}; left of the cheapest point: "
            f"{convention.left}.",
            "- QNC (quality-neutral cost): least relative cost at which the router is as good as the best single LLM.",
            f"- Table content: `{table['content_hash']}`.",
        ]


def thin_curve(curve: DeferralCurve) -> DeferralCurve:
    """At most 200 points of the curve, evenly spaced in their order, with both ends and the peak among them."""
    num_points = len(curve.cost)
    if num_points <= MAX_CURVE_POINTS:
        return curve
    even = torch.linspace(0, num_points - 1, MAX_CURVE_POINTS - 1, dtype=torch.float64).round().long()
    kept = torch.tensor(sorted({*even.tolist(), int(curve.quality.argmax())}))
    return DeferralCurve(*(values[kept] for values in curve))


def _print_figure(figure: FigureOfMerit, value: float | None) -> str:
    if value is None:
        return figure.missing
    return f"{value:.1%}" if figure.is_share else f"{value:.4f}"


def draw_curves(report: EvaluationReport) -> bytes:
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


def method_looks(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, line style and width of each method, as matplotlib takes them; the oracle is thin and black."""
    routers = sorted((name for name in methods if name != ORACLE), key=lambda name: name != HIGHLIGHTED)
    looks: dict[str, dict[str, Any]] = {
        name: {"color": COLOURS[index % len(COLOURS)], "linestyle": LINE_STYLES[index % len(LINE_STYLES)], "lw": 1.8}
        for index, name in enumerate(routers)
    }
    return looks | {ORACLE: {"color": "black", "linestyle": (0, (4, 3)), "lw": 0.8}}


def _draw_methods(axes: Axes, report: EvaluationReport) -> None:
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


def _set_axes(axes: Axes, report: EvaluationReport, at: Float[Tensor, " llm"]) -> None:
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
    unit = "0 = cheapest LLM, 1 = dearest" if convention.cost_axis == "range" else "1 = dearest LLM"
    estimated = ", estimated" if table["is_estimate"] else ""
    axes.set_xlabel(f"Mean relative cost ({unit}; from {table['cost_unit']}{estimated})")
    axes.set_ylabel("Mean quality")
    axes.set_title(report.title(), loc="left", fontsize=11, fontweight="bold")
    axes.grid(color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _quality_limits(report: EvaluationReport) -> tuple[float, float]:
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
