"""Several trials side by side: means, intervals, wins and a sign test against one method."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unirouter_torch.evaluation.report import FIGURES_OF_MERIT, display_name
from unirouter_torch.evaluation.statistics import bootstrap_mean, sign_test
from unirouter_torch.storage import write_atomically, write_json


@dataclass(frozen=True, kw_only=True)
class TrialsReport:
    """What every trial measured.

    Attributes:
        table: Facts about the routing table.
        trials: For each trial ``{"seed": ..., "methods": {name: {metric: value}}}``, as in ``results.json``.
        reference: The method that the others are compared with.
    """

    table: dict[str, Any]
    trials: list[dict[str, Any]]
    reference: str

    @property
    def method_names(self) -> list[str]:
        """Methods in the order of the trials."""
        return list(self.trials[0]["methods"])

    def values(self, method: str, metric: str) -> list[float]:
        """One value for each trial that has one; a quality-neutral cost that was never reached is left out."""
        values = (trial["methods"][method][metric] for trial in self.trials)
        return [value for value in values if value is not None]

    def to_json(self) -> dict[str, Any]:
        """Means in the form of ``results.json``, with intervals, comparisons, and every trial."""
        return {
            "table": self.table,
            "num_trials": len(self.trials),
            "methods": {name: self._means(name) for name in self.method_names},
            "intervals": {name: self._intervals(name) for name in self.method_names},
            "quality_neutral_cost_reached": {
                name: len(self.values(name, "quality_neutral_cost")) for name in self.method_names
            },
            "comparison": {"reference": self.reference, "methods": self._comparisons()},
            "trials": self.trials,
        }

    def to_markdown(self) -> str:
        """A table with one row a method."""
        lines = [
            f"{self.table['name']}: mean over {len(self.trials)} trials, [95% bootstrap interval].",
            "",
            "| method | area | area up to 50% | QNC (trials that reach it) | peak accuracy | mean squared error "
            f"| {display_name(self.reference)} wins, difference in area, sign test |",
            "|---|---|---|---|---|---|---|",
        ]
        comparisons = self._comparisons()
        for name in self.method_names:
            reached = len(self.values(name, "quality_neutral_cost"))
            qnc = f"{self._cell(name, 'quality_neutral_cost')} ({reached})" if reached else "never reached"
            cells = [
                display_name(name),
                self._cell(name, "area"),
                self._cell(name, "area_50"),
                qnc,
                self._cell(name, "peak_accuracy"),
                self._cell(name, "mean_squared_error"),
                _comparison_cell(comparisons[name]) if name in comparisons else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write ``trials.json`` and ``trials.md``."""
        write_json(folder / "trials.json", self.to_json())
        write_atomically(folder / "trials.md", self.to_markdown().encode("utf-8"))

    def _means(self, method: str) -> dict[str, float | None]:
        values = {metric: self.values(method, metric) for metric in FIGURES_OF_MERIT}
        return {metric: sum(found) / len(found) if found else None for metric, found in values.items()}

    def _intervals(self, method: str) -> dict[str, list[float] | None]:
        found = {metric: self.values(method, metric) for metric in FIGURES_OF_MERIT}
        return {metric: list(bootstrap_mean(values)[1:]) if values else None for metric, values in found.items()}

    def _comparisons(self) -> dict[str, dict[str, Any]]:
        reference = self.values(self.reference, "area")
        comparisons = {}
        for name in self.method_names:
            if name == self.reference:
                continue
            differences = [ours - theirs for ours, theirs in zip(reference, self.values(name, "area"), strict=True)]
            interval = bootstrap_mean(differences)
            comparisons[name] = {
                "wins": sum(difference > 0 for difference in differences),
                "area_difference": interval.mean,
                "area_difference_interval": [interval.low, interval.high],
                "sign_test_p": sign_test(differences),
            }
        return comparisons

    def _cell(self, method: str, metric: str) -> str:
        mean, low, high = bootstrap_mean(self.values(method, metric))
        return f"{mean:.4f} [{low:.4f}, {high:.4f}]"


def _comparison_cell(comparison: dict[str, Any]) -> str:
    low, high = comparison["area_difference_interval"]
    difference = f"{comparison['area_difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
    return f"{comparison['wins']}, {difference}, p = {comparison['sign_test_p']:.2g}"
