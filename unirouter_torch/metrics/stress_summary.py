"""Stress trials summarised: means with intervals, losses, and who is ahead."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from unirouter_torch.metrics.records import StressTrial
from unirouter_torch.metrics.statistics import bootstrap_mean, sign_test

FIGURES = {
    "area": "Area ↑",
    "loss": "Loss of area ↓",
    "mean_squared_error": "Mean squared error ↓",
    "worst_source_regret": "Worst source's regret ↓",
    "instability": "Standard deviation of an estimated error ↓",
    "mean_gap": "Mean gap",
    "mean_gap_floor": "Its floor",
    "expected_max_gap": "Expected maximal gap",
    "expected_max_gap_floor": "Its floor",
    "max_gap": "Maximal gap",
    "max_gap_floor": "Its floor",
    "gap_beyond_floor": "Root mean square beyond the floor",
    "covered": "Outcomes covered",
}
COMPARED = ("area", "loss", "worst_source_regret", "instability")
"""Figures in which the reference is compared with each method."""
HIGHER_IS_BETTER = ("area",)


class Cell(NamedTuple):
    """One figure of one method at one level, over the trials that have it.

    Attributes:
        mean: Over the trials.
        low: Lower end of the 95% bootstrap interval.
        high: Upper end.
        wins: Trials in which the reference method is better.
        losses: Trials in which it is worse.
        sign_test_p: p of the two-sided sign test between the two.
    """

    mean: float
    low: float
    high: float
    wins: int
    losses: int
    sign_test_p: float


@dataclass(frozen=True, kw_only=True)
class StressSummary:
    """One stress over all trials.

    Attributes:
        name: Which stress.
        trials: ``seed`` and ``about`` (what was disturbed) of each trial whose prompts allow it.
        levels: The undisturbed one first.
        methods: In the order of the trials.
        cells: By level, method and figure; only what was measured.
        reference: The method that every other is compared with.
    """

    name: str
    trials: list[dict[str, Any]]
    levels: list[str]
    methods: list[str]
    cells: dict[tuple[str, str, str], Cell]
    reference: str

    @property
    def figures(self) -> list[str]:
        """The figures that were measured, in the order of ``FIGURES``."""
        return [name for name in FIGURES if any(name == figure for _, _, figure in self.cells)]

    def count_trials(self) -> str:
        """How many trials there are, in words."""
        return f"{len(self.trials)} trial{'s' if len(self.trials) > 1 else ''}"

    def is_contest(self, method: str, figure: str) -> bool:
        """Whether the reference is compared with the method in that figure."""
        return method != self.reference and figure in COMPARED

    def to_json(self) -> dict[str, Any]:
        """The trials, and cells by level, method and figure."""
        nested: dict[str, Any] = {}
        for (level, method, figure), cell in self.cells.items():
            kept = cell._fields if self.is_contest(method, figure) else ("mean", "low", "high")
            figures = nested.setdefault(level, {}).setdefault(method, {})
            figures[figure] = {name: getattr(cell, name) for name in kept}
        return {"trials": self.trials, "levels": nested}


def summarise_stress(name: str, trials: list[StressTrial], reference: str) -> StressSummary:
    """Summarise the trials of one stress.

    ``loss`` is the area at the first level minus that at a later one, within the trial.

    Args:
        name: Which stress.
        trials: Any number; those without levels are left out.
        reference: The method that every other is compared with, trial by trial, at the same level.
    """
    trials = [trial for trial in trials if trial.levels]
    by_trial = [_with_losses(trial.levels) for trial in trials]
    keys = list(dict.fromkeys(key for figures in by_trial for key in figures))
    levels = list(dict.fromkeys(level for trial in trials for level in trial.levels))
    return StressSummary(
        name=name,
        trials=[{"seed": trial.seed, "about": trial.about} for trial in trials],
        levels=levels,
        methods=list(dict.fromkeys(method for _, method, _ in keys)),
        cells={key: _summarise(key, by_trial, reference) for key in keys},
        reference=reference,
    )


def _with_losses(levels: dict[str, Any]) -> dict[tuple[str, str, str], float]:
    first = next(iter(levels))
    found: dict[tuple[str, str, str], float] = {}
    for level, methods in levels.items():
        for method, figures in methods.items():
            found |= {(level, method, figure): value for figure, value in figures.items()}
            if "area" in figures and level != first:
                found[level, method, "loss"] = levels[first][method]["area"] - figures["area"]
    return found


def _summarise(key: tuple[str, str, str], trials: list[dict[tuple[str, str, str], float]], reference: str) -> Cell:
    level, _, figure = key
    interval = bootstrap_mean([trial[key] for trial in trials if key in trial])
    rival = (level, reference, figure)
    sign = 1 if figure in HIGHER_IS_BETTER else -1
    gains = [sign * (trial[rival] - trial[key]) for trial in trials if key in trial and rival in trial]
    return Cell(
        *interval,
        wins=sum(gain > 0 for gain in gains),
        losses=sum(gain < 0 for gain in gains),
        sign_test_p=sign_test(gains),
    )
