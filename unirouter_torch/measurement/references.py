"""What the answers are graded by: a CSV or JSON Lines file of ``prompt_id`` and ``reference``."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unirouter_torch.errors import DataError

_COLUMNS = ("prompt_id", "reference")


def read_references(path: Path) -> dict[str, str]:
    """The reference of each prompt id.

    In JSON Lines a reference can be any JSON value; one that is no text is kept as JSON. Other columns are ignored.

    Args:
        path: A file that ends in ``.csv`` or ``.jsonl``, in UTF-8.

    Raises:
        DataError: The file is missing, no UTF-8, of another kind or malformed, or a prompt id stands twice.
    """
    rows = {".csv": _csv_rows, ".jsonl": _jsonl_rows}.get(path.suffix.lower())
    if rows is None:
        raise DataError(f"{path}: expected a file that ends in .csv or .jsonl. Rename or convert it.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; expected prompt_id and reference. Correct --references.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8. Save it in UTF-8.") from None
    references: dict[str, str] = {}
    for number, row in rows(text, path):
        absent = [column for column in _COLUMNS if row.get(column) is None]
        if absent:
            raise DataError(f"{path}, row {number}: no {absent[0]}; expected {' and '.join(_COLUMNS)}. Add it.")
        prompt_id, reference = (_text(row[column]) for column in _COLUMNS)
        if prompt_id in references:
            raise DataError(f"{path}, row {number}: prompt_id {prompt_id!r} stands there twice. Remove one.")
        references[prompt_id] = reference
    if not references:
        raise DataError(f"{path}: holds no row; expected {' and '.join(_COLUMNS)}. Write it again.")
    return references


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        yield from enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True), start=1)
    except csv.Error as error:
        raise DataError(f"{path}: malformed CSV ({error}). Correct it, or write the file again.") from None


def _jsonl_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, row {number}: expected JSON ({error}). Correct the line.") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: expected an object with prompt_id and reference. Correct the line.")
        yield number, row


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
