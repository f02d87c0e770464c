"""Tables over several trials, each once for Markdown and HTML: figures of merit, comparisons, sweeps."""

from typing import Any

from unirouter_torch.methods.registry import knows_more
from unirouter_torch.metrics.figures import FIGURES, FigureOfMerit
from unirouter_torch.metrics.statistics import SIGNIFICANCE_LEVEL, bootstrap_mean
from unirouter_torch.reports.labels import label_of
from unirouter_torch.reports.tables import Cell, Table

COMPARED = tuple(figure for figure in FIGURES if figure.is_compared)

Results = dict[str, Any]
"""What :meth:`~unirouter_torch.reports.trials_report.TrialsReport.to_json` gives."""


def figure_table(results: Results, table: str) -> Table:
    """One row a method, one column for each figure of a table: mean, interval, and in how many trials it is reached.

    The best of a column, among methods that see no more than a router can, is set off; where not all trials reach a
    figure, among those that reach it most often, as its mean is over these trials.

    Args:
        results: Of several trials.
        table: ``merit`` or ``saving``.
    """
    figures = [figure for figure in FIGURES if figure.table == table]
    best = {figure.key: _best(results, figure) for figure in figures}
    rows = {
        label_of(name): tuple(_figure_cell(results, name, figure, best[figure.key]) for figure in figures)
        for name in results["methods"]
    }
    return Table.plain([figure.head for figure in figures], rows)


def comparison_table(results: Results) -> Table:
    """The reference against each other method, in each compared figure; what is significant is set off."""
    rows = {
        label_of(name): tuple(_comparison_cell(figure, found[figure.key]) for figure in COMPARED)
        for name, found in results["comparison"]["methods"].items()
    }
    return Table.plain([figure.head for figure in COMPARED], rows)


def sweep_table(label: str, areas: dict[int, dict[str, list[float]]]) -> Table:
    """Mean area with its interval by method and value.

    Args:
        label: What was varied.
        areas: Areas over the trials, by the value of what was varied, then by method.
    """
    rows = {
        label_of(name): tuple(interval_cell(areas[value][name]) for value in areas)
        for name in next(iter(areas.values()))
    }
    return Table.plain([f"{value:,}" for value in areas], rows, first=label)


def interval_cell(values: list[float]) -> Cell:
    """Mean and 95% bootstrap interval of at least one value; a single one has no interval."""
    mean, low, high = bootstrap_mean(values)
    return Cell(f"{mean:.4f}", f"[{low:.4f}, {high:.4f}]" if len(values) > 1 else "")


def _figure_cell(results: Results, name: str, figure: FigureOfMerit, best: str | None) -> Cell:
    value, reached = results["methods"][name][figure.key], results["reached"][name][figure.key]
    if value is None:
        return Cell(figure.missing)
    low, high = (figure.print(end) for end in results["intervals"][name][figure.key])
    text = figure.print(value)
    return Cell(
        text,
        f"[{low}, {high}]" if reached > 1 else "",
        f"{reached} of {results['num_trials']} trials" if reached < results["num_trials"] else "",
        is_best=text == best and name in _rivals(results, figure),
    )


def _best(results: Results, figure: FigureOfMerit) -> str | None:
    """The best value as printed, so that equal prints look the same; None where no method has one."""
    best = figure.best(results["methods"][name][figure.key] for name in _rivals(results, figure))
    return None if best is None else figure.print(best)


def _rivals(results: Results, figure: FigureOfMerit) -> list[str]:
    names = [name for name in results["methods"] if not knows_more(name)]
    reached = results["reached"]
    most = max((reached[name][figure.key] for name in names), default=0)
    return [name for name in names if reached[name][figure.key] == most]


def _comparison_cell(figure: FigureOfMerit, comparison: dict[str, Any]) -> Cell:
    """Wins to losses with p, then the mean difference with its interval."""
    p, detail = comparison["sign_test_p"], ""
    if comparison["difference"] is not None:
        ends = (comparison["difference"], *comparison["interval"])
        mean, low, high = (f"{'+' if end >= 0 else ''}{figure.print(end)}" for end in ends)
        detail = f"{mean} [{low}, {high}]"
    text = f"{comparison['wins']} : {comparison['losses']}, p = {p:.2g}"
    return Cell(text, detail, is_best=p < SIGNIFICANCE_LEVEL)
