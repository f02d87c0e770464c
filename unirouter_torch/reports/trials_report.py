"""Several trials side by side: means, intervals, wins and sign tests against one method."""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.statistics import bootstrap_mean, sign_test
from unirouter_torch.reports.report import FIGURES_OF_MERIT, LOWER_IS_BETTER, display_name

SIGNIFICANCE_LEVEL = 0.01
TRIAL_FIGURES = FIGURES_OF_MERIT | {
    "expected_calibration_error": "Calibration error ↓",
    "worst_source_regret": "Worst source's regret ↓",
}
COMPARED = ("area", "mean_squared_error", "quality_neutral_cost")

TrialResult = dict[str, Any]


class SweepPoint(NamedTuple):
    """The trials at one value of the setting that a sweep varies."""

    value: int
    trials: list[TrialResult]


class Sweep(NamedTuple):
    """Trials over several values of one setting.

    Attributes:
        name: Name of the setting.
        label: What it is called in tables and figures.
        points: One for each value.
    """

    name: str
    label: str
    points: list[SweepPoint]


@dataclass(frozen=True, kw_only=True)
class TrialsReport:
    """What every trial measured.

    Attributes:
        table: Facts about the routing table, as in :class:`~unirouter_torch.reports.report.EvaluationReport`.
        trials: One for each seed: ``seed``, ``split``, ``llms``, ``methods`` (figures of merit by name), ``stages``
            (what each took) and ``diagnostics``.
        sweeps: What was varied.
        reference: The method that the others are compared with.
        convention: How the curves were read.
        embedding: What it took to embed some prompts, which all methods share: ``num_prompts``, ``wall_seconds``,
            ``cpu_seconds``, ``peak_bytes``; None where it was not measured.
    """

    table: dict[str, Any]
    trials: list[TrialResult]
    sweeps: list[Sweep]
    reference: str
    convention: CurveConvention
    embedding: dict[str, Any] | None = None

    @property
    def method_names(self) -> list[str]:
        """Methods in the order of the trials."""
        return list(self.trials[0]["methods"])

    def title(self) -> str:
        """The table's name and what pool was evaluated."""
        split = self.trials[0]["split"]
        is_static = split["num_unseen_llms"] == self.table["num_llms"]
        return f"{self.table['name']}: {'all LLMs seen' if is_static else 'unseen LLMs'}"

    def to_json(self) -> dict[str, Any]:
        """Means in the form of a single run's ``results.json``, with intervals, comparisons, and every trial."""
        return {
            "table": self.table,
            "convention": asdict(self.convention),
            "num_trials": len(self.trials),
            "methods": {name: self._means(name) for name in self.method_names},
            "intervals": {name: self._intervals(name) for name in self.method_names},
            "quality_neutral_cost_reached": {
                name: len(values_of(self.trials, name, "quality_neutral_cost")) for name in self.method_names
            },
            "comparison": {"reference": self.reference, "methods": self.comparisons()},
            "sweeps": {
                sweep.name: {str(point.value): [_figures_of(trial) for trial in point.trials] for point in sweep.points}
                for sweep in self.sweeps
            },
            "trials": [_figures_of(trial) for trial in self.trials],
        }

    def to_markdown(self) -> str:
        """Two tables with one row a method: the figures of merit, and the comparison with the reference."""
        lines = [
            f"# {self.title()}",
            "",
            *self._notes(),
            "",
            f"| Method | {' | '.join(TRIAL_FIGURES.values())} |",
            f"|---|{'---|' * len(TRIAL_FIGURES)}",
            *(self._row(name) for name in self.method_names),
            "",
            f"{display_name(self.reference)} against each method, trial by trial: how many trials it wins, the mean "
            "difference [95% interval], and p of the two-sided sign test, in bold below "
            f"{SIGNIFICANCE_LEVEL}. A QNC that is never reached counts as worse than any that is.",
            "",
            "| Method | Area | Mean squared error | QNC |",
            "|---|---|---|---|",
        ]
        for name, comparison in self.comparisons().items():
            lines.append(f"| {display_name(name)} | {' | '.join(print_comparison(comparison[m]) for m in COMPARED)} |")
        for sweep in self.sweeps:
            lines += ["", f"Area by {sweep.label.lower()}:", "", *self._sweep_table(sweep)]
        return "\n".join(lines) + "\n"

    def to_summary(self) -> str:
        """A narrow Markdown table for the terminal: area, squared error, and how the reference does against each."""
        comparisons = self.comparisons()
        lines = [
            f"**{self.title()}**, mean of {len(self.trials)} trials [95% interval]",
            "",
            f"| Method | Area | Squared error | {display_name(self.reference)} wins : losses | p |",
            "|---|---|---|---|---|",
        ]
        for name in self.method_names:
            error = values_of(self.trials, name, "mean_squared_error")
            cells = [display_name(name), print_interval(values_of(self.trials, name, "area"))]
            cells.append(f"{sum(error) / len(error):.4f}")
            if name in comparisons:
                found = comparisons[name]["area"]
                cells += [f"{found['wins']} : {found['losses']}", f"{found['sign_test_p']:.2g}"]
            lines.append(f"| {' | '.join(cells)} |" if name in comparisons else f"| {' | '.join(cells)} | | |")
        return "\n".join(lines) + "\n"

    def comparisons(self) -> dict[str, dict[str, dict[str, Any]]]:
        """How the reference does against each other method, in each compared figure.

        Returns:
            ``wins`` and ``losses`` of the reference, the mean ``difference`` (reference minus method, over trials in
            which both have a value) with its ``interval``, and ``sign_test_p``; by method, then by figure.
        """
        return {
            name: {metric: self._compare(name, metric) for metric in COMPARED}
            for name in self.method_names
            if name != self.reference
        }

    def _compare(self, name: str, metric: str) -> dict[str, Any]:
        ours = [trial["methods"][self.reference][metric] for trial in self.trials]
        theirs = [trial["methods"][name][metric] for trial in self.trials]
        gains = [_gain(metric, mine, other) for mine, other in zip(ours, theirs, strict=True)]
        both = [mine - other for mine, other in zip(ours, theirs, strict=True) if None not in (mine, other)]
        interval = bootstrap_mean(both) if both else None
        return {
            "wins": sum(gain > 0 for gain in gains),
            "losses": sum(gain < 0 for gain in gains),
            "difference": interval.mean if interval else None,
            "interval": [interval.low, interval.high] if interval else None,
            "sign_test_p": sign_test(gains),
        }

    def _means(self, method: str) -> dict[str, float | None]:
        values = {metric: values_of(self.trials, method, metric) for metric in TRIAL_FIGURES}
        return {metric: sum(found) / len(found) if found else None for metric, found in values.items()}

    def _intervals(self, method: str) -> dict[str, list[float] | None]:
        found = {metric: values_of(self.trials, method, metric) for metric in TRIAL_FIGURES}
        return {metric: list(bootstrap_mean(values)[1:]) if values else None for metric, values in found.items()}

    def _row(self, method: str) -> str:
        cells = []
        for metric in TRIAL_FIGURES:
            values = values_of(self.trials, method, metric)
            cell = print_interval(values) if values else "never reached"
            if metric == "quality_neutral_cost" and values:
                cell += f" ({len(values)} of {len(self.trials)})"
            cells.append(cell)
        return f"| {display_name(method)} | {' | '.join(cells)} |"

    def _notes(self) -> list[str]:
        table, split = self.table, self.trials[0]["split"]
        estimated = " (estimated)" if table["is_estimate"] else ""
        return [
            f"Mean over {len(self.trials)} trials [95% bootstrap interval]. {table['num_prompts']:,} prompts, "
            f"{table['num_llms']:,} LLMs, {split['num_unseen_llms']} of them evaluated, each represented by "
            f"{split['num_calibration']} calibration prompts. Cost in {table['cost_unit']}{estimated}. Relative cost: "
            f"{self.convention.cost_axis}; interpolation: {self.convention.interpolation}; left of the cheapest point: "
            f"{self.convention.left}. QNC: mean over the trials that reach it (how many)."
        ]

    def _sweep_table(self, sweep: Sweep) -> list[str]:
        names = list(sweep.points[0].trials[0]["methods"])
        rows = [
            f"| {display_name(name)} | "
            + " | ".join(print_interval(values_of(point.trials, name, "area")) for point in sweep.points)
            + " |"
            for name in names
        ]
        heads = [f"{point.value}" for point in sweep.points]
        trials = len(sweep.points[0].trials)
        return [f"| {sweep.label} ({trials} trials) | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}", *rows]


def values_of(trials: list[TrialResult], method: str, metric: str) -> list[float]:
    """One value for each trial that has one; a quality-neutral cost that was never reached is left out."""
    values = (trial["methods"][method][metric] for trial in trials)
    return [value for value in values if value is not None]


def print_interval(values: list[float]) -> str:
    """Mean and 95% bootstrap interval of at least one value; a single one has no interval."""
    mean, low, high = bootstrap_mean(values)
    if len(values) == 1:
        return f"{mean:.4f}"
    return f"{mean:.4f} [{low:.4f}, {high:.4f}]"


def print_comparison(comparison: dict[str, Any]) -> str:
    """Wins to losses, difference with interval, and p."""
    p = comparison["sign_test_p"]
    p_text = f"**p = {p:.2g}**" if p < SIGNIFICANCE_LEVEL else f"p = {p:.2g}"
    text = f"{comparison['wins']} : {comparison['losses']}"
    if comparison["difference"] is not None:
        low, high = comparison["interval"]
        text += f", {comparison['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
    return f"{text}, {p_text}"


def _gain(metric: str, mine: float | None, other: float | None) -> float:
    """How much better ``mine`` is; None is the worst value."""
    if mine is None or other is None:
        return float(mine is not None) - float(other is not None)
    difference = mine - other
    assert math.isfinite(difference)
    return -difference if metric in LOWER_IS_BETTER else difference


def _figures_of(trial: TrialResult) -> TrialResult:
    return {key: trial[key] for key in ("seed", "split", "methods")}
