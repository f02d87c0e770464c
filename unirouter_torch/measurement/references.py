"""What the answers are graded by: a table of ``prompt_id`` and ``reference``."""

import json
from pathlib import Path
from typing import Any

from unirouter_torch.data.columns import read_columns
from unirouter_torch.data.files import named_columns
from unirouter_torch.errors import DataError
from unirouter_torch.messages import whole_characters

_COLUMNS = ("prompt_id", "reference")


def read_references(path: Path) -> dict[str, str]:
    """The reference of each prompt id.

    In JSON a reference can be any value; one that is no text is kept as JSON. Rows whose reference is null or blank are
    left out, and other columns ignored.

    Args:
        path: CSV, JSON Lines, a JSON array of objects, or Parquet; the first three in UTF-8, compressed or not.

    Raises:
        DataError: The file is missing, no UTF-8, of another kind or malformed, or a prompt id has two references.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected prompt_id and reference. Correct its path.")
    columns, names, num_rows = read_columns(path, _COLUMNS)
    if not num_rows:
        raise DataError(f"{path}: holds no row; expected {' and '.join(_COLUMNS)}. Write it again.")
    lists = {name: values if isinstance(values, list) else values.to_pylist() for name, values in columns.items()}
    absent = [name for name in _COLUMNS if name not in lists]
    if absent:
        expected = f"expected {' and '.join(_COLUMNS)}, got the columns {named_columns(names)}"
        raise DataError(f"{path}: no column {absent[0]!r}; {expected}. Add it.")
    references: dict[str, str] = {}
    for row, (given_id, given) in enumerate(zip(*(lists[name] for name in _COLUMNS), strict=True), start=1):
        if given is None or not _text(given).strip():
            continue
        if given_id is None:
            raise DataError(f"{path}, row {row}: no prompt_id. Add it.")
        prompt_id, reference = _text(given_id), _text(given)
        if references.setdefault(prompt_id, reference) != reference:
            raise DataError(f"{path}, row {row}: prompt_id {prompt_id!r} is there with two references. Remove one.")
    return references


def _text(value: Any) -> str:
    return whole_characters(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
