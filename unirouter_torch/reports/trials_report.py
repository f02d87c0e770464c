"""Several trials side by side: means, intervals, wins and sign tests against one method."""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.methods.registry import display_name
from unirouter_torch.metrics.figures import FIGURE_OF, FIGURES, FigureOfMerit
from unirouter_torch.metrics.records import EmbeddingCost, TrialRecord
from unirouter_torch.metrics.statistics import SIGNIFICANCE_LEVEL, bootstrap_mean, sign_test
from unirouter_torch.reports.headline import headline_of_trials
from unirouter_torch.reports.tables import Cell, Table
from unirouter_torch.reports.trials_tables import COMPARED, comparison_table, figure_table, interval_cell, sweep_table


class SweepPoint(NamedTuple):
    """The trials at one value of the setting that a sweep varies."""

    value: int
    trials: list[TrialRecord]


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

    def table(self) -> Table:
        """Mean area of each method at each value."""
        names = list(self.points[0].trials[0].methods)
        areas = {p.value: {name: values_of(p.trials, name, "area") for name in names} for p in self.points}
        return sweep_table(f"{self.label} ({len(self.points[0].trials)} trials)", areas)


@dataclass(frozen=True, kw_only=True)
class TrialsReport:
    """What every trial measured.

    Attributes:
        table: Facts about the routing table, as in :class:`~unirouter_torch.reports.report.EvaluationReport`.
        trials: One for each seed.
        sweeps: What was varied.
        reference: The method that the others are compared with.
        convention: How the curves were read.
        embedding: What it took to embed some prompts; None where it was not measured.
    """

    table: dict[str, Any]
    trials: list[TrialRecord]
    sweeps: list[Sweep]
    reference: str
    convention: CurveConvention
    embedding: EmbeddingCost | None = None

    @property
    def method_names(self) -> list[str]:
        """Methods in the order of the trials."""
        return list(self.trials[0].methods)

    def title(self) -> str:
        """The table's name and what pool was evaluated."""
        split = self.trials[0].split
        is_static = split["num_unseen_llms"] == self.table["num_llms"]
        return f"{self.table['name']}: {'all LLMs seen' if is_static else 'unseen LLMs'}"

    @cached_property
    def results(self) -> dict[str, Any]:
        """Means in the form of a single run's ``results.json``, with intervals, comparisons, and every trial."""
        names = self.method_names
        found = {
            "table": self.table,
            "convention": asdict(self.convention),
            "num_trials": len(self.trials),
            "methods": {name: self._means(name) for name in names},
            "intervals": {name: self._intervals(name) for name in names},
            "quality_neutral_cost_reached": {
                name: len(values_of(self.trials, name, "quality_neutral_cost")) for name in names
            },
            "reached": {
                name: {figure.key: len(values_of(self.trials, name, figure.key)) for figure in FIGURES}
                for name in names
            },
            "comparison": {"reference": self.reference, "methods": self._comparisons()},
            "sweeps": {
                sweep.name: {str(point.value): [_figures_of(trial) for trial in point.trials] for point in sweep.points}
                for sweep in self.sweeps
            },
            "trials": [_figures_of(trial) for trial in self.trials],
        }
        return {"headline": headline_of_trials(found)} | found

    def to_markdown(self) -> str:
        """The headline, and tables with one row a method: figures of merit, and the comparison with the reference."""
        lines = [f"# {self.title()}", "", self.results["headline"], "", *self._notes(), ""]
        for table in ("merit", "saving"):
            lines += [*figure_table(self.results, table).to_markdown(), ""]
        lines += [
            f"{display_name(self.reference)} against each method, trial by trial: how many trials it wins and loses, p "
            f"of the two-sided sign test, in bold below {SIGNIFICANCE_LEVEL}, and the mean difference [95% interval] "
            "over trials in which both have a value. A value that is never reached counts as worse than any that is.",
            "",
            *comparison_table(self.results).to_markdown(),
        ]
        for sweep in self.sweeps:
            if sweep.points:
                lines += ["", f"Area by {sweep.label.lower()}:", "", *sweep.table().to_markdown()]
        return "\n".join(lines) + "\n"

    def to_summary(self) -> str:
        """The headline and a narrow Markdown table for the terminal."""
        comparisons = self.results["comparison"]["methods"]
        rows = {}
        for name in self.method_names:
            error = values_of(self.trials, name, "mean_squared_error")
            cells = [interval_cell(values_of(self.trials, name, "area")), Cell(f"{sum(error) / len(error):.4f}")]
            found = comparisons[name]["area"] if name in comparisons else None
            cells += [Cell(f"{found['wins']} : {found['losses']}" if found else "")]
            cells += [Cell(f"{found['sign_test_p']:.2g}" if found else "")]
            rows[display_name(name)] = tuple(cells)
        heads = ("Area", "Squared error", f"{display_name(self.reference)} wins : losses", "p")
        return "\n".join(
            [
                self.results["headline"],
                "",
                f"**{self.title()}**, mean of {len(self.trials)} trials [95% interval]",
                "",
                *Table.plain(heads, rows).to_markdown(),
                "",
            ]
        )

    def _comparisons(self) -> dict[str, dict[str, dict[str, Any]]]:
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
        ours = [trial.methods[self.reference].figures[figure.key] for trial in self.trials]
        theirs = [trial.methods[name].figures[figure.key] for trial in self.trials]
        gains = [figure.gain(mine, other) for mine, other in zip(ours, theirs, strict=True)]
        pairs = zip(ours, theirs, strict=True)
        both = [mine - other for mine, other in pairs if mine is not None and other is not None]
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

    def _notes(self) -> list[str]:
        table, split = self.table, self.trials[0].split
        estimated = " (estimated)" if table["is_estimate"] else ""
        return [
            f"Mean over {len(self.trials)} trials [95% bootstrap interval]; where some trials do not reach a figure, "
            f"mean over those that do (how many). {table['num_prompts']:,} prompts, {table['num_llms']:,} LLMs, "
            f"{split['num_unseen_llms']} of them evaluated, each represented by {split['num_calibration']} calibration "
            f"prompts. Cost in {table['cost_unit']}{estimated}. Relative cost: {self.convention.cost_axis}; "
            f"interpolation: {self.convention.interpolation}; left of the cheapest point: {self.convention.left}."
        ]


def values_of(trials: list[TrialRecord], method: str, metric: str) -> list[float]:
    """One value for each trial that has one; a quality-neutral cost that was never reached is left out."""
    values = (trial.methods[method].figures[metric] for trial in trials)
    return [value for value in values if value is not None]


def _figures_of(trial: TrialRecord) -> dict[str, Any]:
    values = trial.to_json()
    return {key: values[key] for key in ("seed", "split", "methods")}
