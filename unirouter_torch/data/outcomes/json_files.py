"""JSON files, and what the forms that consist of them share: checks of values, the choice of a metric."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unirouter_torch.errors import DataError

JSONObject = dict[str, Any]


def read_json_file(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: The file is missing, or is no JSON in UTF-8.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Correct the path.")
    return parse_json(path.read_bytes(), str(path))


def read_json_lines(path: Path) -> Iterator[tuple[str, JSONObject]]:
    """The objects of a JSON Lines file, each with its place; blank lines are skipped.

    Raises:
        DataError: The file is missing, or a line is no JSON object in UTF-8.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Correct the path.")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                place = f"{path}, line {number}"
                yield place, as_object(parse_json(line, place), place)


def parse_json(content: bytes, place: str) -> Any:
    """Parse JSON.

    Raises:
        DataError: It is no JSON in UTF-8.
    """
    try:
        return json.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{place}: expected JSON in UTF-8 ({error}). Write or copy the file again.") from None


def as_object(value: Any, place: str) -> JSONObject:
    """The value, if it is a JSON object.

    Raises:
        DataError: It is something else.
    """
    if not isinstance(value, dict):
        raise DataError(f"{place}: got a {type(value).__name__}, expected a JSON object. Check the format of the file.")
    return value


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def number_or_none(value: Any) -> float | None:
    """A finite number, with true and false as 1 and 0; None for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def check_score(score: float | None, place: str, metric: str) -> float | None:
    """The score, if it is in [0, 1] or None.

    Raises:
        DataError: It is outside.
    """
    if score is not None and not 0 <= score <= 1:
        raise DataError(f"{place}: {metric} is {score:g}, expected a score in [0, 1]. Choose another metric.")
    return score


def identifiers(*values: Any) -> tuple[str, ...]:
    """Those of the values that can be the identifier of a prompt: text that is no mere number, which counts rows."""
    return tuple(value for value in values if isinstance(value, str) and value.strip() and not value.strip().isdigit())


def choose_metric(found: Sequence[str], wanted: str | None, place: str) -> str:
    """The metric that is the score.

    Args:
        found: Names in the file; a name may end in a comma and the name of a filter.
        wanted: The name that was asked for, with or without the filter; None to take the only one.
        place: The file, for messages.

    Raises:
        DataError: None is wanted and there is not exactly one, or the wanted one is not there or is ambiguous.
    """
    names = sorted(set(found))
    fitting = names if wanted is None else [name for name in names if wanted in (name, name.partition(",")[0])]
    if len(fitting) == 1:
        return fitting[0]
    if not names:
        raise DataError(f"{place}: no metric with numbers was found. Check the format of the file.")
    asked = "none was chosen" if wanted is None else f"{wanted!r} was chosen"
    raise DataError(f"{place}: got the metrics {'; '.join(names)}, but {asked}. Choose one of them with --metric.")
