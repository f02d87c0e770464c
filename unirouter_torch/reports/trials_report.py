"""Several trials side by side: means, intervals, wins and sign tests against one method."""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.methods.registry import display_name
from unirouter_torch.metrics.figures import FIGURE_OF, FIGURES, FigureOfMerit
from unirouter_torch.metrics.statistics import bootstrap_mean, sign_test

SIGNIFICANCE_LEVEL = 0.01
COMPARED = [figure for figure in FIGURES if figure.is_compared]

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
            "reached": {
                name: {figure.key: len(values_of(self.trials, name, figure.key)) for figure in FIGURES}
                for name in self.method_names
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
            *self._table([figure for figure in FIGURES if figure.table == "merit"]),
            *self._table([figure for figure in FIGURES if figure.table == "saving"]),
            f"{display_name(self.reference)} against each method, trial by trial: how many trials it wins, the mean "
            "difference [95% interval], and p of the two-sided sign test, in bold below "
            f"{SIGNIFICANCE_LEVEL}. A value that is never reached counts as worse than any that is.",
            "",
            f"| Method | {' | '.join(figure.title for figure in COMPARED)} |",
            f"|---|{'---|' * len(COMPARED)}",
        ]
        for name, comparison in self.comparisons().items():
            cells = (print_comparison(comparison[figure.key]) for figure in COMPARED)
            lines.append(f"| {display_name(name)} | {' | '.join(cells)} |")
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
            name: {figure.key: self._compare(name, figure) for figure in COMPARED}
            for name in self.method_names
            if name != self.reference
        }

    def _compare(self, name: str, figure: FigureOfMerit) -> dict[str, Any]:
        ours = [trial["methods"][self.reference][figure.key] for trial in self.trials]
        theirs = [trial["methods"][name][figure.key] for trial in self.trials]
        gains = [figure.gain(mine, other) for mine, other in zip(ours, theirs, strict=True)]
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
        values = {metric: values_of(self.trials, method, metric) for metric in FIGURE_OF}
        return {metric: sum(found) / len(found) if found else None for metric, found in values.items()}

    def _intervals(self, method: str) -> dict[str, list[float] | None]:
        found = {metric: values_of(self.trials, method, metric) for metric in FIGURE_OF}
        return {metric: list(bootstrap_mean(values)[1:]) if values else None for metric, values in found.items()}

    def _table(self, figures: list[FigureOfMerit]) -> list[str]:
        lines = [f"| Method | {' | '.join(figure.head for figure in figures)} |", f"|---|{'---|' * len(figures)}"]
        for method in self.method_names:
            cells = (self._cell(method, figure) for figure in figures)
            lines.append(f"| {display_name(method)} | {' | '.join(cells)} |")
        return [*lines, ""]

    def _cell(self, method: str, figure: FigureOfMerit) -> str:
        values = values_of(self.trials, method, figure.key)
        if not values:
            return figure.missing.replace("not", "never")
        is_partly = len(values) < len(self.trials) or figure.key == "quality_neutral_cost"
        return print_interval(values) + (f" ({len(values)} of {len(self.trials)})" if is_partly else "")

    def _notes(self) -> list[str]:
        table, split = self.table, self.trials[0]["split"]
        estimated = " (estimated)" if table["is_estimate"] else ""
        return [
            f"Mean over {len(self.trials)} trials [95% bootstrap interval]. {table['num_prompts']:,} prompts, "
            f"{table['num_llms']:,} LLMs, {split['num_unseen_llms']} of them evaluated, each represented by "
            f"{split['num_calibration']} calibration prompts. Cost in {table['cost_unit']}{estimated}. Relative cost: "
            f"{self.convention.cost_axis}; interpolation: {self.convention.interpolation}; left of the cheapest point: "
            f"{self.convention.left}. What some trials do not reach: mean over those that do (how many)."
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


def _figures_of(trial: TrialResult) -> TrialResult:
    return {key: trial[key] for key in ("seed", "split", "methods")}
