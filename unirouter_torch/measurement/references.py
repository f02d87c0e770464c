"""What the answers are graded by: a table of ``prompt_id`` and ``reference``."""

import json
from pathlib import Path
from typing import Any

from unirouter_torch.data.files import named_columns, read_columns
from unirouter_torch.errors import DataError
from unirouter_torch.messages import whole_characters

_COLUMNS = ("prompt_id", "reference")


def read_references(path: Path) -> dict[str, str]:
    """The reference of each prompt id.

    In JSON a reference can be any value; one that is no text is kept as JSON. Other columns are ignored.

    Args:
        path: CSV, JSON Lines, a JSON array of objects, or Parquet; the first three in UTF-8, compressed or not.

    Raises:
        DataError: The file is missing, no UTF-8, of another kind or malformed, or a prompt id is there twice.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected prompt_id and reference. Correct its path.")
    columns, names, num_rows = read_columns(path, _COLUMNS)
    if not num_rows:
        raise DataError(f"{path}: holds no row; expected {' and '.join(_COLUMNS)}. Write it again.")
    lists = {name: values if isinstance(values, list) else values.to_pylist() for name, values in columns.items()}
    references: dict[str, str] = {}
    for row in range(num_rows):
        found = {name: lists[name][row] if name in lists else None for name in _COLUMNS}
        absent = [name for name, value in found.items() if value is None]
        if absent:
            expected = f"expected {' and '.join(_COLUMNS)}, got the columns {named_columns(names)}"
            raise DataError(f"{path}, row {row + 1}: no {absent[0]}; {expected}. Add it.")
        prompt_id, reference = (_text(found[name]) for name in _COLUMNS)
        if prompt_id in references:
            raise DataError(f"{path}, row {row + 1}: prompt_id {prompt_id!r} is there twice. Remove one.")
        references[prompt_id] = reference
    return references


def _text(value: Any) -> str:
    return whole_characters(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
