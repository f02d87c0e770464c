"""Stress tests as JSON, and as Markdown: two tables over all of them, and one for each with its picture."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.methods.registry import display_name
from unirouter_torch.metrics.statistics import SIGNIFICANCE_LEVEL
from unirouter_torch.metrics.stress_summary import COMPARED, FIGURES, Cell, StressSummary
from unirouter_torch.reports.headline import headline_of_stress
from unirouter_torch.reports.stress_figures import draw_stress
from unirouter_torch.reports.stresses import STRESSES
from unirouter_torch.storage import write_atomically, write_json


@dataclass(frozen=True, kw_only=True)
class StressReport:
    """What every stress did to every method.

    Attributes:
        table: Facts about the routing table, as in :class:`~unirouter_torch.reports.report.EvaluationReport`.
        num_calibration: How many calibration prompts represent an unseen LLM, where enough are left and nothing else is
            said.
        stresses: One for each stress.
        reference: The method that the others are compared with.
        convention: How the curves were read.
    """

    table: dict[str, Any]
    num_calibration: int
    stresses: list[StressSummary]
    reference: str
    convention: CurveConvention

    def to_json(self) -> dict[str, Any]:
        """Every summary, by stress, level, method and figure."""
        return {
            "headline": headline_of_stress(self.stresses, self.reference),
            "table": self.table,
            "num_calibration": self.num_calibration,
            "convention": asdict(self.convention),
            "reference": self.reference,
            "stresses": {stress.name: stress.to_json() for stress in self.stresses},
        }

    def overview(self) -> str:
        """A sentence, and narrow tables over all stresses, with a row for each method."""
        columns = [column for stress in self.stresses if stress.cells for column in _columns(stress)]
        lines = [f"# Stress tests on {self.table['name']}", ""]
        if says := headline_of_stress(self.stresses, self.reference):
            lines += [f"**{says}**", ""]
        if any(column.figure == "loss" for column in columns):
            lines += [
                "Loss of area under each stress, at its strongest level where it has several; * marks a 95% interval "
                "over trials without 0.",
                "",
            ]
        for block in (True, False):
            lines += _overview([column for column in columns if column.is_of_data == block])
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """The tables over all stresses, then each stress by itself."""
        lines = [self.overview(), *self._notes(), ""]
        for stress in self.stresses:
            if stress.cells:
                lines += [*self._section(stress), ""]
        left_out = [STRESSES[stress.name].title for stress in self.stresses if not stress.cells]
        if left_out:
            lines += [f"Not possible on this table, for lack of sources or prompts: {', '.join(left_out)}.", ""]
        return "\n".join(lines[:-1]) + "\n"

    def write(self, folder: Path) -> None:
        """Write ``stress.json``, ``stress.md`` and a PNG file for each stress into ``folder``, each atomically."""
        write_json(folder / "stress.json", self.to_json())
        write_atomically(folder / "stress.md", self.to_markdown().encode("utf-8"))
        for stress in self.stresses:
            if stress.cells:
                write_atomically(folder / f"{stress.name}.png", draw_stress(stress, table_name=self.table["name"]))

    def _notes(self) -> list[str]:
        table = self.table
        estimated = " (estimated)" if table["is_estimate"] else ""
        return [
            f"{table['num_prompts']:,} prompts, {table['num_llms']:,} LLMs; unseen LLMs are represented by up to "
            f"{self.num_calibration} calibration prompts. Cost in {table['cost_unit']}{estimated}. Relative cost: "
            f"{self.convention.cost_axis}; interpolation: {self.convention.interpolation}; left of the cheapest point: "
            f"{self.convention.left}. All figures are means over trials [95% bootstrap interval]. The loss of area is "
            "the area at the first level minus that at a later one, within a trial. "
            f"{display_name(self.reference)} against each method: trials that it wins and loses, and p of the "
            f"two-sided sign test, in bold below {SIGNIFICANCE_LEVEL}.",
        ]

    def _section(self, stress: StressSummary) -> list[str]:
        about = STRESSES[stress.name]
        heads = [FIGURES[name] for name in stress.figures]
        compared = [name for name in COMPARED if name in stress.figures]
        rival = display_name(self.reference)
        heads += [f"{rival} wins : loses, {FIGURES[name].rstrip(' ↑↓').lower()}" for name in compared]
        first = ([about.axis] if len(stress.levels) > 1 else []) + ["Method"]
        lines = [
            *(f"## {about.title}", "", f"{about.explanation} {stress.count_trials()}.", ""),
            *(f"![{about.title}]({stress.name}.png)", ""),
            f"| {' | '.join([*first, *heads])} |",
            f"|{'---|' * (len(first) + len(heads))}",
        ]
        for level in stress.levels:
            for method in stress.methods:
                cells = {name: stress.cells.get((level, method, name)) for name in stress.figures}
                if any(cells.values()):
                    texts = [level, display_name(method)][-len(first) :]
                    texts += [_print_cell(name, cell) for name, cell in cells.items()]
                    texts += [_print_contest(cells[n]) if stress.is_contest(method, n) else "" for n in compared]
                    lines.append(f"| {' | '.join(texts)} |")
        return lines


@dataclass(frozen=True)
class _Column:
    """A column of the tables over all stresses."""

    head: str
    stress: StressSummary
    level: str
    figure: str

    @property
    def is_of_data(self) -> bool:
        """Whether training or calibration was disturbed, rather than test prompts or nothing."""
        return self.figure == "loss" and STRESSES[self.stress.name].is_ordered


def _columns(stress: StressSummary) -> list[_Column]:
    """The strongest level of an ordered stress, every level of another one; none for what is not of one method."""
    about, levels = STRESSES[stress.name], stress.levels
    if "loss" not in stress.figures:
        figure = next((name for name in COMPARED if name in stress.figures), None)
        return [_Column(about.title, stress, levels[0], figure)] if figure else []
    if not about.is_ordered:
        return [_Column(level.capitalize(), stress, level, "loss") for level in levels[1:]]
    head = f"{about.title}: {levels[-1]}" if len(levels) > 2 else about.title
    return [_Column(head, stress, levels[-1], "loss")]


def _overview(columns: list[_Column]) -> list[str]:
    methods = list(dict.fromkeys(method for column in columns for method in column.stress.methods))
    if not columns:
        return []
    lines = [f"| Method | {' | '.join(column.head for column in columns)} |", f"|---|{'---:|' * len(columns)}"]
    for method in methods:
        cells = [column.stress.cells.get((column.level, method, column.figure)) for column in columns]
        texts = [_print_mean(column.figure, cell) for column, cell in zip(columns, cells, strict=True)]
        lines.append(f"| {display_name(method)} | {' | '.join(texts)} |")
    return [*lines, ""]


def _print_mean(figure: str, cell: Cell | None) -> str:
    if cell is None:
        return ""
    if figure != "loss":
        return f"{cell.mean:.3f}"
    is_clear = cell.low < cell.high and (cell.low > 0 or cell.high < 0)  # one trial has no interval
    return f"{cell.mean:+.3f}{'*' if is_clear else ''}"


def _print_cell(figure: str, cell: Cell | None) -> str:
    if cell is None:
        return ""
    sign = "+" if figure == "loss" else ""
    mean, low, high = (f"{value:{sign}.4f}" for value in (cell.mean, cell.low, cell.high))
    return mean if cell.low == cell.high else f"{mean} [{low}, {high}]"


def _print_contest(cell: Cell | None) -> str:
    if cell is None:
        return ""
    p = f"p = {cell.sign_test_p:.2g}"
    return f"{cell.wins} : {cell.losses}, {f'**{p}**' if cell.sign_test_p < SIGNIFICANCE_LEVEL else p}"
