"""The figures of merit, one list: scores, torchmetrics, and the columns of every table come from it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from unirouter_torch.metrics.deferral import area_under_deferral_curve, peak_accuracy, quality_neutral_cost
from unirouter_torch.metrics.judged import Judged
from unirouter_torch.metrics.saving import area_over_log_cost, cost_of_quality, quality_within_budget

LEAST_GAIN = 1e-3
"""Area that an oracle must gain over constant choices, for a regret to be a share of it."""


@dataclass(frozen=True, kw_only=True)
class FigureOfMerit:
    """One figure of merit.

    Attributes:
        key: In ``results.json``, in logs and in code.
        title: Head of its column.
        higher_is_better: Its direction.
        of: Its value for some estimates; None where it is not reached or not defined.
        table: Which table of a report it is in: ``merit`` judges methods, ``saving`` is for people.
        missing: What a table shows where there is no value.
        is_share: Whether it is printed as a percentage.
        is_compared: Whether methods are compared in it, trial by trial.
        streams: Whether it is logged while a head trains.
    """

    key: str
    title: str
    higher_is_better: bool
    of: Callable[[Judged], float | None]
    table: Literal["merit", "saving"] = "merit"
    missing: Literal["not reached", "not defined"] = "not reached"
    is_share: bool = False
    is_compared: bool = False
    streams: bool = False

    @property
    def head(self) -> str:
        """Title and direction."""
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"

    def print(self, value: float | None) -> str:
        """A value as a table shows it."""
        if value is None:
            return self.missing
        return f"{value:.1%}" if self.is_share else f"{value:.4f}"

    def gain(self, mine: float | None, other: float | None) -> float:
        """How much better ``mine`` is than ``other``; a value that is not reached is worse than any that is."""
        if mine is None or other is None:
            return float(mine is not None) - float(other is not None)
        return mine - other if self.higher_is_better else other - mine

    def best(self, values: Iterable[float | None]) -> float | None:
        """The best of some values; None where there is none."""
        pick = max if self.higher_is_better else min
        return pick((value for value in values if value is not None), default=None)


def _area(judged: Judged, up_to: float = 1.0) -> float:
    return area_under_deferral_curve(judged.curve, judged.truth.cost, judged.truth.convention, up_to)


def _quality_neutral_cost(judged: Judged) -> float | None:
    truth = judged.truth
    return quality_neutral_cost(judged.curve, truth.cost, truth.best_single.quality, truth.convention)


def _squared_error(judged: Judged) -> float:
    observed = judged.truth.observed
    return float((judged.estimated_error[observed].double() - judged.truth.error[observed].double()).square().mean())


def _worst_source_regret(judged: Judged) -> float | None:
    return max((scores.regret for scores in judged.sources.values()), default=None)


def _regret(judged: Judged, best_area: float | None) -> float | None:
    """What is missing of the area that the best gains over constant choices, as a share of that gain."""
    if best_area is None or best_area - judged.truth.constant_area < LEAST_GAIN:
        return None
    return (best_area - _area(judged)) / (best_area - judged.truth.constant_area)


def _cost_at(percent: int) -> FigureOfMerit:
    def share(judged: Judged) -> float | None:
        truth, best = judged.truth, judged.truth.best_single
        return cost_of_quality(judged.curve, truth.cost, percent / 100 * best.quality, best.cost, truth.convention)

    title = f"Cost at {percent}% of the best LLM's quality"
    return FigureOfMerit(
        key=f"cost_at_{percent}",
        title=title,
        higher_is_better=False,
        of=share,
        table="saving",
        is_share=True,
        is_compared=percent == 99,
    )


def _quality_at(percent: int) -> FigureOfMerit:
    def quality(judged: Judged) -> float | None:
        truth = judged.truth
        return quality_within_budget(judged.curve, truth.cost, percent / 100, truth.convention)

    title = f"Quality at {percent}% of the highest cost"
    return FigureOfMerit(key=f"quality_at_{percent}", title=title, higher_is_better=True, of=quality, table="saving")


FIGURES: tuple[FigureOfMerit, ...] = (
    FigureOfMerit(key="area", title="Area", higher_is_better=True, of=_area, is_compared=True, streams=True),
    FigureOfMerit(
        key="area_50", title="Area (50%)", higher_is_better=True, of=lambda judged: _area(judged, 0.5), streams=True
    ),
    FigureOfMerit(
        key="quality_neutral_cost",
        title="QNC",
        higher_is_better=False,
        of=_quality_neutral_cost,
        is_share=True,
        is_compared=True,
        streams=True,
    ),
    FigureOfMerit(
        key="peak_accuracy",
        title="Peak accuracy",
        higher_is_better=True,
        of=lambda judged: peak_accuracy(judged.curve),
        streams=True,
    ),
    FigureOfMerit(
        key="mean_squared_error",
        title="Mean squared error",
        higher_is_better=False,
        of=_squared_error,
        is_compared=True,
        streams=True,
    ),
    FigureOfMerit(
        key="expected_calibration_error",
        title="Calibration error",
        higher_is_better=False,
        of=lambda judged: judged.reliability.expected_calibration_error,
    ),
    FigureOfMerit(
        key="worst_source_regret",
        title="Worst source's regret",
        higher_is_better=False,
        of=_worst_source_regret,
        missing="not defined",
    ),
    _cost_at(95),
    _cost_at(99),
    _cost_at(100),
    _quality_at(10),
    _quality_at(25),
    _quality_at(50),
    FigureOfMerit(
        key="area_over_log_cost",
        title="Area over log cost",
        higher_is_better=True,
        of=lambda judged: area_over_log_cost(judged.curve, judged.truth.cost, judged.truth.convention),
        table="saving",
        is_compared=True,
    ),
    FigureOfMerit(
        key="source_oracle_regret",
        title="Regret to the source oracle",
        higher_is_better=False,
        of=lambda judged: _regret(judged, judged.truth.source_oracle_area),
        table="saving",
        missing="not defined",
        is_share=True,
    ),
    FigureOfMerit(
        key="oracle_regret",
        title="Regret to the oracle",
        higher_is_better=False,
        of=lambda judged: _regret(judged, judged.truth.oracle_area),
        table="saving",
        missing="not defined",
        is_share=True,
    ),
)
"""Every figure of merit, in the order of the tables."""

FIGURE_OF = {figure.key: figure for figure in FIGURES}


def figures_of(judged: Judged, figures: Iterable[FigureOfMerit] = FIGURES) -> dict[str, float | None]:
    """Values of figures by their key."""
    return {figure.key: figure.of(judged) for figure in figures}
