"""What each stage of each method took, as tables, and beside other methods."""

import statistics
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING

from unirouter_torch.metrics.stages import StageCost
from unirouter_torch.reports.labels import label_of
from unirouter_torch.reports.tables import Cell, Group, Table

if TYPE_CHECKING:
    from unirouter_torch.reports.trials_report import TrialsReport

STAGES = {"fit": "Fit", "onboard": "Onboard all LLMs", "onboard_one": "Onboard one LLM", "score": "Score"}
STAGE_COLUMNS = {"wall_seconds": "Wall [ms]", "cpu_seconds": "CPU [ms]", "peak_bytes": "Peak [MiB]"}
STAGE_SCALES = {"wall_seconds": 1e3, "cpu_seconds": 1e3, "peak_bytes": 1 / 2**20}
RATIO_BASES = ("knn", "mlp")
"""Methods whose cost the others' is compared with."""

StageCosts = dict[tuple[str, str], float]
"""Median over trials by stage and column, where it was measured."""


def median_costs(report: "TrialsReport") -> dict[str, StageCosts]:
    """What each stage took by method, median over the trials."""
    return {name: _median_costs([trial.stages[name] for trial in report.trials]) for name in report.method_names}


def cost_table(costs: dict[str, StageCosts]) -> Table:
    """Wall time, CPU time and peak memory of each stage."""

    def cell(name: str, stage: str, column: str) -> str:
        return print_cost(costs[name].get((stage, column)), STAGE_SCALES[column])

    return _stage_table(costs, STAGE_COLUMNS, cell)


def ratio_tables(costs: dict[str, StageCosts]) -> dict[str, Table]:
    """The same as multiples of a method's, by the name of that method."""
    return {label_of(base): _ratio_table(costs, base) for base in RATIO_BASES if base in costs}


def embedding_facts(report: "TrialsReport", costs: dict[str, StageCosts]) -> dict[str, object] | None:
    """What it takes to embed a prompt, beside what the methods of the ratios take to score one; None where unknown."""
    if report.embedding is None:
        return None
    number, wall, cpu = report.embedding.num_prompts, report.embedding.wall_seconds, report.embedding.cpu_seconds
    num_scored = report.trials[0].split["num_test_prompts"]
    return {
        "num_prompts": f"{number:,}",
        "wall": print_cost(wall / number, 1e3),
        "cpu": print_cost(cpu / number, 1e3),
        "peak": print_cost(report.embedding.peak_bytes, STAGE_SCALES["peak_bytes"]),
        "multiples": {
            label_of(base): print_cost(wall / number / (costs[base]["score", "wall_seconds"] / num_scored))
            for base in RATIO_BASES
            if costs.get(base, {}).get(("score", "wall_seconds"))
        },
    }


def print_cost(value: float | int | None, scale: float = 1.0) -> str:
    """Three digits, all of those before the point, none beyond the second after it."""
    if value is None:
        return "–"
    value *= scale
    if 0 < value < 0.005:
        return "<0.01"
    return f"{value:,.0f}" if value >= 99.95 else f"{round(value, 2):.3g}"


def _ratio_table(costs: dict[str, StageCosts], base: str) -> Table:
    def cell(name: str, stage: str, column: str) -> str:
        mine, other = costs[name].get((stage, column)), costs[base].get((stage, column))
        return "–" if mine is None or not other else f"{print_cost(mine / other)} ×"

    return _stage_table(costs, {column: label.partition(" [")[0] for column, label in STAGE_COLUMNS.items()}, cell)


def _stage_table(costs: dict[str, StageCosts], labels: dict[str, str], cell: Callable[[str, str, str], str]) -> Table:
    """One row a method, and for each stage that was measured the labelled columns."""
    stages = [stage for stage in STAGES if any(stage == measured for cost in costs.values() for measured, _ in cost)]
    return Table(
        groups=tuple(Group(STAGES[stage], tuple(labels.values())) for stage in stages),
        rows={
            label_of(name): tuple(Cell(cell(name, stage, column)) for stage in stages for column in labels)
            for name in costs
        },
    )


def _median_costs(trials: list[dict[str, StageCost]]) -> StageCosts:
    found: dict[tuple[str, str], list[float]] = {}
    for stage, column in product(STAGES, STAGE_COLUMNS):
        values = [getattr(costs[stage], column) for costs in trials if stage in costs]
        found[stage, column] = [value for value in values if value is not None]
    return {key: statistics.median(values) for key, values in found.items() if values}
