"""What the readers of public tables share: checks of columns, and tables made from rows."""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from unirouter_torch.data.checks import Column
from unirouter_torch.errors import DataError

OUTCOMES = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("model_id", pa.string()),
        ("score", pa.float64()),
        ("cost_usd", pa.float64()),
        ("output_tokens", pa.float64()),
        ("output_chars", pa.float64()),
    ]
)
"""Columns of the outcomes; what a source does not have is null."""


def require_columns(found: Iterable[str], needed: Sequence[str], place: str) -> None:
    """Refuse a file that lacks a column.

    Args:
        found: Names in the file.
        needed: Names that the reader uses.
        place: The file, for the message.

    Raises:
        DataError: A needed name is missing; the message has all of both.
    """
    found = list(found)
    if missing := [name for name in needed if name not in found]:
        raise DataError(
            f"{place}: got the columns {', '.join(map(str, found)) or 'none'}, expected {', '.join(needed)}; "
            f"{missing[0]!r} is missing. Take the files of the revision in docs/evidence/public_tables.md."
        )


def outcome_table(**columns: Column | Sequence[object]) -> pa.Table:
    """Make outcomes of some of the columns, the others null.

    Args:
        **columns: Values by the names of ``OUTCOMES``, all of one length.

    Returns:
        A table with the schema ``OUTCOMES``.
    """
    num_rows = len(columns["prompt_id"])
    return pa.table([_column(columns.get(item.name), item.type, num_rows) for item in OUTCOMES], schema=OUTCOMES)


def _column(values: Column | Sequence[object] | None, kind: pa.DataType, num_rows: int) -> Column:
    if values is None:
        return pa.nulls(num_rows, kind)
    return values.cast(kind) if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
