"""Which outcome belongs to which calibration prompt."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from unirouter_torch.data.outcomes import Grading, OutcomeRow
from unirouter_torch.data.outcomes.fields import check_score
from unirouter_torch.errors import DataError
from unirouter_torch.messages import final_answer

NUM_EXAMPLES = 3
_LONGEST_EXAMPLE = 60


@dataclass(frozen=True, kw_only=True)
class MatchReport:
    """What became of the rows of a file, and which calibration prompts are left.

    Attributes:
        num_by_id: Rows that belong to a calibration prompt by its id.
        num_by_text: Rows that do by its text alone.
        num_ungraded: Rows of either kind without a score; they count nowhere.
        num_cut_off: Rows of either kind that end within the reasoning of the LLM; they count as empty answers.
        num_averaged: Calibration prompts with several scores, whose mean is taken.
        num_other: Rows that belong to no calibration prompt.
        other: The first few of them.
        num_missing: Calibration prompts without a score.
        missing: Identifiers of the first few of them.
        notes: What was left out before: older runs of a task, files of no known form.
    """

    num_by_id: int
    num_by_text: int
    num_ungraded: int
    num_cut_off: int
    num_averaged: int
    num_other: int
    other: tuple[str, ...]
    num_missing: int
    missing: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report for people."""
        said = [*self.notes, f"{self.num_by_id} rows matched by prompt id, {self.num_by_text} by text"]
        if self.num_other:
            said.append(f"{self.num_other} rows of other prompts, such as {'; '.join(self.other)}")
        if self.num_ungraded:
            said.append(f"{self.num_ungraded} matched rows without a score")
        if self.num_cut_off:
            said.append(f"{self.num_cut_off} answers end within the reasoning of the LLM: they count as empty")
        if self.num_averaged:
            said.append(f"{self.num_averaged} calibration prompts with several scores: their mean is taken")
        if self.num_missing:
            said.append(f"{self.num_missing} calibration prompts without a score, such as {'; '.join(self.missing)}")
        return said


@dataclass(frozen=True, kw_only=True)
class MatchedOutcomes:
    """Outcomes of one LLM on calibration prompts; everything by prompt id, means where there were several answers.

    Attributes:
        scores: Quality in [0, 1].
        input_tokens: Length of the prompt [tokens], where it was counted.
        output_tokens: Length of the answer [tokens], where it was counted.
        cost: What the answer was billed [US dollars], where that is known.
        report: What matched.
    """

    scores: dict[str, float]
    input_tokens: dict[str, float]
    output_tokens: dict[str, float]
    cost: dict[str, float]
    report: MatchReport


def normalise(text: str) -> str:
    """A text without what copies of a prompt differ in: Unicode form (NFKC), upper and lower case, white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def match_outcomes(
    rows: Sequence[OutcomeRow],
    calibration: Mapping[str, str],
    place: str,
    grading: Grading | None = None,
    notes: tuple[str, ...] = (),
) -> MatchedOutcomes:
    """Give outcomes to calibration prompts: by prompt id, else by text as it is, else by normalised text.

    Calibration prompts with one text share its outcomes. A normalised text that represents different texts of
    calibration prompts matches none.

    Args:
        rows: Outcomes of one LLM.
        calibration: Text of each calibration prompt, by prompt id.
        place: The file, for messages.
        grading: How answers without a score are graded; their reasoning is taken off first.
        notes: What was left out before, for the report.

    Raises:
        DataError: No row matches, none of those that match has a score, one has the id of a calibration prompt and
            the text of another, or a grade is outside [0, 1].
    """
    found = _assign(rows, calibration, grading)
    graded = {
        prompt_id: [row for row in found.of_prompt[prompt_id] if row.score is not None]
        for prompt_id in calibration
        if prompt_id in found.of_prompt
    }
    graded = {prompt_id: its_rows for prompt_id, its_rows in graded.items() if its_rows}
    if not graded:
        raise DataError(_nothing_graded(found, grading, place) or _nothing_matched(rows, calibration, place))
    return MatchedOutcomes(
        scores=_means(graded, "score"),
        input_tokens=_means(graded, "input_tokens"),
        output_tokens=_means(graded, "output_tokens"),
        cost=_means(graded, "cost"),
        report=_report(found, graded, calibration, notes),
    )


class _Assignment(NamedTuple):
    """Rows by how they were matched, and the rows of each calibration prompt that has any."""

    by_id: list[OutcomeRow]
    by_text: list[OutcomeRow]
    other: list[OutcomeRow]
    of_prompt: dict[str, list[OutcomeRow]]


def _assign(rows: Sequence[OutcomeRow], calibration: Mapping[str, str], grading: Grading | None) -> _Assignment:
    index = _TextIndex(calibration)
    found = _Assignment([], [], [], defaultdict(list))
    for row in rows:
        known = [prompt_id for prompt_id in row.prompt_ids if prompt_id in calibration][:1]
        same_text = index.find(row.texts)
        if known and same_text and known[0] not in same_text:
            raise DataError(
                f"{row.place}: prompt id {known[0]!r}, but the text of the calibration prompt {same_text[0]!r}. "
                "Correct the id, or leave it out to match by text."
            )
        graded = {prompt_id: _graded(row, prompt_id, grading) for prompt_id in known or same_text}
        (found.by_id if known else found.by_text if same_text else found.other).append(next(iter(graded.values()), row))
        for prompt_id, its_row in graded.items():
            found.of_prompt[prompt_id].append(its_row)
    return found


def _graded(row: OutcomeRow, prompt_id: str, grading: Grading | None) -> OutcomeRow:
    """The row with a grade of its answer, where it has no score and there is a reference."""
    if row.score is not None or row.answer is None or grading is None or prompt_id not in grading.references:
        return row
    answer = final_answer(row.answer)
    score = check_score(grading.grader(answer.text, grading.references[prompt_id]), row.place, "the grade")
    return replace(row, score=score, is_cut_off=row.is_cut_off or answer.is_cut_off)


def _report(
    found: _Assignment,
    graded: Mapping[str, Sequence[OutcomeRow]],
    calibration: Mapping[str, str],
    notes: tuple[str, ...],
) -> MatchReport:
    matched = (*found.by_id, *found.by_text)
    missing = [prompt_id for prompt_id in calibration if prompt_id not in graded]
    return MatchReport(
        num_by_id=len(found.by_id),
        num_by_text=len(found.by_text),
        num_ungraded=sum(row.score is None for row in matched),
        num_cut_off=sum(row.is_cut_off and row.score is not None for row in matched),
        num_averaged=sum(len(its_rows) > 1 for its_rows in graded.values()),
        num_other=len(found.other),
        other=tuple(_shown(row) for row in found.other[:NUM_EXAMPLES]),
        num_missing=len(missing),
        missing=tuple(missing[:NUM_EXAMPLES]),
        notes=notes,
    )


class _TextIndex:
    """Finds the calibration prompts of a text."""

    def __init__(self, calibration: Mapping[str, str]) -> None:
        self._exact: dict[str, list[str]] = defaultdict(list)
        texts: dict[str, set[str]] = defaultdict(set)
        for prompt_id, text in calibration.items():
            self._exact[text].append(prompt_id)
            texts[normalise(text)].add(text)
        self._normalised = {key: self._exact[min(found)] for key, found in texts.items() if len(found) == 1}

    def find(self, texts: Sequence[str]) -> list[str]:
        """Identifiers of the calibration prompts with the first of the texts that has any."""
        for text in texts:
            if text in self._exact:
                return self._exact[text]
        return next((self._normalised[key] for key in map(normalise, texts) if key in self._normalised), [])


def _means(graded: Mapping[str, Sequence[OutcomeRow]], name: str) -> dict[str, float]:
    known = {
        prompt_id: [value for row in rows if (value := getattr(row, name)) is not None]
        for prompt_id, rows in graded.items()
    }
    return {prompt_id: sum(values) / len(values) for prompt_id, values in known.items() if values}


def _nothing_graded(found: _Assignment, grading: Grading | None, place: str) -> str:
    """Why none of the rows that match has a score; nothing where none matches."""
    matched = (*found.by_id, *found.by_text)
    if not matched:
        return ""
    count = f"{len(matched)} rows match calibration prompts, but none has a score"
    if not any(row.answer is not None for row in matched):
        return f"{place}: {count}. Grade the answers."
    if grading is None:
        return f"{place}: answers without scores; {count}. Give a grader and references."
    if not found.of_prompt.keys() & grading.references.keys():
        return f"{place}: {count}: none of their prompt ids has a reference. Check the references."
    return f"{place}: {count} that the grader could give. Check the grader and the references."


def _nothing_matched(rows: Sequence[OutcomeRow], calibration: Mapping[str, str], place: str) -> str:
    prompt_id, text = next(iter(calibration.items()), ("", ""))
    given = _shown(rows[0]) if rows else "nothing"
    return (
        f"{place}: none of {len(rows)} rows is of one of the {len(calibration)} calibration prompts; got {given}, "
        f"expected prompt ids such as {prompt_id!r} or texts such as {_short(text)!r}. Let the LLM answer these."
    )


def _shown(row: OutcomeRow) -> str:
    named = [repr(prompt_id) for prompt_id in row.prompt_ids[:1]] or [repr(_short(text)) for text in row.texts[:1]]
    return named[0] if named else row.place


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_EXAMPLE else f"{text[: _LONGEST_EXAMPLE - 3]}..."
