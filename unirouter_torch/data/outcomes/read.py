"""Outcomes of one LLM on calibration prompts, from files of any form that we know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from unirouter_torch.data.outcomes import Grading, OutcomeRow, Pick
from unirouter_torch.data.outcomes.match import MatchedOutcomes, match_outcomes
from unirouter_torch.data.outcomes.places import Place, find_places
from unirouter_torch.errors import DataError, first_few
from unirouter_torch.messages import LAST_USER

Paths: TypeAlias = str | Path | Sequence[str | Path]
"""A file or folder, or several."""


def read_outcomes(
    path: Paths,
    *,
    calibration: Mapping[str, str],
    format: str = "auto",
    llm: str | None = None,
    metric: str | Sequence[str] | None = None,
    grading: Grading | None = None,
    conversation: str = LAST_USER,
) -> MatchedOutcomes:
    """Read what one LLM scored on the calibration prompts of a router.

    Args:
        path: Files, and folders with files however deep, in any of the forms of :mod:`.readers`.
        calibration: Text of each calibration prompt, by prompt id.
        format: Name of the form, or ``package.module:Class`` of a reader; ``auto`` tells by content.
        llm: Name of the LLM in the files; needed where they tell of several.
        metric: Name of the metric that is the score, or several: one for each task, or ``task=metric``; needed where a
            task has several metrics.
        grading: How answers without a score are graded; needed where there are no scores.
        conversation: How a conversation becomes its prompt: ``router.conversation``.

    Returns:
        Scores, tokens and costs by prompt id, and what matched.

    Raises:
        DataError: A file cannot be read, something has to be chosen, or nothing matches.
        ConfigError: There is no reader of that name.
    """
    rows, notes, place = _read(path, format, llm, metric, conversation)
    return match_outcomes(rows, calibration, place, grading, notes)


@dataclass(frozen=True, kw_only=True)
class UsedPrompts:
    """Prompts that an LLM answered in use, and the quality of each answer, in [0, 1]; in order."""

    prompts: list[str]
    scores: list[float]


def read_feedback(
    path: Paths,
    *,
    format: str = "auto",
    llm: str | None = None,
    metric: str | Sequence[str] | None = None,
    conversation: str = LAST_USER,
) -> UsedPrompts:
    """Read outcomes of one LLM on prompts of any kind, in the order of the file; those without a score are left out.

    Args:
        path: As in :func:`read_outcomes`, but with the text of the prompts; likewise the others.
        format: As there.
        llm: As there.
        metric: As there.
        conversation: As there.

    Raises:
        DataError: A file cannot be read, something has to be chosen, no row is graded, or a graded row has no prompt.
    """
    every, _, place = _read(path, format, llm, metric, conversation)
    rows = [row for row in every if row.score is not None]
    if every and not any(row.texts for row in every):
        raise DataError(
            f"{place}: the rows name their prompts by id alone, but feedback goes by text. Write a log with prompt and "
            "score."
        )
    if not rows:
        raise DataError(f"{place}: none of {len(every)} rows has a score. Grade the answers.")
    for row in rows:
        if not row.texts:
            raise DataError(f"{row.place}: no 'prompt', expected its text. Feedback goes by text, not by prompt id.")
    scores = [row.score for row in rows if row.score is not None]
    return UsedPrompts(prompts=[row.texts[0] for row in rows], scores=scores)


def _read(
    path: Paths, form: str, llm: str | None, metric: str | Sequence[str] | None, conversation: str
) -> tuple[list[OutcomeRow], tuple[str, ...], str]:
    """Rows of one LLM, what was left out, and where they are from, for messages."""
    paths = [Path(one) for one in ([path] if isinstance(path, str | Path) else path)]
    metrics = (metric,) if isinstance(metric, str) else tuple(metric or ())
    places, notes = find_places(paths, form, llm)
    pick = Pick(metrics=metrics, conversation=conversation)
    rows = [row for place in places for row in _rows_of(place, pick)]
    where = first_few([str(one) for one in paths])
    return _of_llm(rows, llm, where), notes, where


def _rows_of(place: Place, pick: Pick) -> list[OutcomeRow]:
    try:
        return list(place.reader.read(place.path, pick))
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise DataError(
            f"{place.path}: not of the form {place.reader.name!r} ({error}). Name the form of the file."
        ) from error


def _of_llm(rows: list[OutcomeRow], wanted: str | None, place: str) -> list[OutcomeRow]:
    found = sorted({row.llm for row in rows if row.llm is not None})
    if not found or (wanted is None and len(found) == 1):
        return rows
    if wanted in found:
        return [row for row in rows if row.llm in (None, wanted)]
    raise DataError(f"{place}: got {first_few(found)}, expected the one to read. Choose one of them as llm_in_file.")
