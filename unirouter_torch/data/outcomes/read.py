"""Outcomes of one LLM on calibration prompts, from a file of any form that we know."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from unirouter_torch.data.outcomes import Grading, OutcomeRow, Pick
from unirouter_torch.data.outcomes.helm import STATS, read_helm
from unirouter_torch.data.outcomes.inspect_log import read_inspect
from unirouter_torch.data.outcomes.json_files import read_json_lines
from unirouter_torch.data.outcomes.lm_eval import PATTERN, read_lm_eval
from unirouter_torch.data.outcomes.match import MatchedOutcomes, match_outcomes
from unirouter_torch.data.outcomes.openai_batch import read_openai_batch
from unirouter_torch.data.outcomes.own_log import read_own_log
from unirouter_torch.errors import DataError

OutcomesFormat = Literal["auto", "log", "lm_eval", "inspect", "helm", "openai_batch"]
FORMATS: tuple[OutcomesFormat, ...] = get_args(OutcomesFormat)

_READERS: dict[OutcomesFormat, Callable[[Path, Pick], list[OutcomeRow]]] = {
    "log": read_own_log,
    "lm_eval": read_lm_eval,
    "inspect": read_inspect,
    "helm": read_helm,
    "openai_batch": read_openai_batch,
}


def read_outcomes(
    path: str | Path,
    *,
    calibration: Mapping[str, str],
    format: OutcomesFormat = "auto",
    llm: str | None = None,
    metric: str | None = None,
    grading: Grading | None = None,
) -> MatchedOutcomes:
    """Read what one LLM scored on the calibration prompts of a router.

    Args:
        path: A file or folder in one of :data:`FORMATS`.
        calibration: Text of each calibration prompt, by prompt id.
        format: Its form; ``auto`` tells by names and content.
        llm: Name of the LLM in the file; needed where a log tells of several.
        metric: Name of the metric that is the score; needed where the file has several.
        grading: How answers without a score are graded; needed for the output of a batch.

    Returns:
        Scores, tokens and costs by prompt id, and what matched.

    Raises:
        DataError: The file cannot be read, something has to be chosen, or nothing matches.
    """
    place = Path(path)
    kind = detect_format(place) if format == "auto" else format
    rows = _read_rows(place, kind, Pick(llm=llm, metric=metric, grading=grading))
    return match_outcomes(rows, calibration, str(place))


def _read_rows(path: Path, kind: OutcomesFormat, pick: Pick) -> list[OutcomeRow]:
    try:
        return _READERS[kind](path, pick)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not of the form {kind!r} ({error}). Name the form of the file.") from error


@dataclass(frozen=True, kw_only=True)
class UsedPrompts:
    """Prompts that an LLM answered in use, and the quality of each answer, in [0, 1]; in order."""

    prompts: list[str]
    scores: list[float]


def read_feedback(
    path: Path, *, format: OutcomesFormat = "auto", llm: str | None = None, metric: str | None = None
) -> UsedPrompts:
    """Read outcomes of one LLM on prompts of any kind, in the order of the file; those without a score are left out.

    Args:
        path: A file or folder in one of :data:`FORMATS` that has the text of the prompts: any but ``openai_batch``.
        format: As in :func:`read_outcomes`; likewise the others.
        llm: As there.
        metric: As there.

    Raises:
        DataError: The file cannot be read, something has to be chosen, or a graded row has no prompt.
    """
    kind = detect_format(path) if format == "auto" else format
    if kind == "openai_batch":
        raise DataError(
            f"{path}: the output of a batch names its prompts by custom_id alone, but feedback goes by text. Write a "
            "log with prompt and score."
        )
    rows = [row for row in _read_rows(path, kind, Pick(llm=llm, metric=metric)) if row.score is not None]
    for row in rows:
        if not row.texts:
            raise DataError(f"{row.place}: no 'prompt', expected its text. Feedback goes by text, not by prompt id.")
    scores = [row.score for row in rows if row.score is not None]
    return UsedPrompts(prompts=[row.texts[0] for row in rows], scores=scores)


def detect_format(path: Path) -> OutcomesFormat:
    """The form of a file or folder of outcomes, by its name and for JSON Lines by its first line.

    Raises:
        DataError: It does not exist, or is of no known form.
    """
    if path.is_dir():
        if (path / STATS).is_file():
            return "helm"
        if next(path.glob(PATTERN), None):
            return "lm_eval"
    elif not path.exists():
        raise DataError(f"{path}: no such file or folder. Correct the path.")
    elif path.name == STATS:
        return "helm"
    elif path.suffix.lower() in (".eval", ".json"):
        return "inspect"
    elif path.suffix.lower() == ".csv":
        return "log"
    elif path.suffix.lower() == ".jsonl":
        _, first = next(read_json_lines(path), ("", {}))
        return "openai_batch" if "custom_id" in first else "lm_eval" if "filtered_resps" in first else "log"
    raise DataError(f"{path}: not a known form of outcomes. Name it with --format: {', '.join(FORMATS[1:])}.")
