"""CSV as RFC 4180 has it, and nothing that another program would read as something else."""

import csv
import re
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from unirouter_torch.data.files import read_lines
from unirouter_torch.errors import DataError

_SCORE = re.compile(r'\s*(?:0|1|0?\.\d+|[01]\.\d*|true|false)\s*"?\s*', re.IGNORECASE)
_QUOTED_LATE = re.compile(r'\s+".*"\s*', re.DOTALL)


def read_csv_rows(path: Path) -> Iterator[list[str]]:
    """The header and the rows of a CSV file: commas, and quotes as RFC 4180 has them, doubled within a quoted text.

    Where spaces follow the commas of the header, they belong to the commas of the rows, too. What another program would
    read as something else is refused with its row: a quote that is not closed or not doubled, one behind a space, a row
    with more or fewer cells than the header, a quoted text that swallowed rows.

    Raises:
        DataError: The file is missing, damaged, not in UTF-8 or not such a file.
    """
    csv.field_size_limit(sys.maxsize)
    lines = _ended_lines(path)
    first = next(lines, "")
    has_spaces = ", " in first and '"' not in first
    rows = csv.reader(chain([first], lines), strict=True, skipinitialspace=has_spaces)
    header = next(rows, [])
    if len(header) == 1 and re.search("[;\t|]", header[0]):
        raise DataError(f"{path}: the header {header[0]!r} has no comma, expected commas between columns. Save it so.")
    yield header
    score = header.index("score") if "score" in header else None
    number = 0
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise DataError(f"{path}, row {number + 1}: {_said(error)}. {_QUOTES}") from None
        if row is None:
            return
        if not row:
            continue
        number += 1
        if len(row) != len(header):
            raise DataError(
                f"{path}, row {number}: got {len(row)} cells, expected {len(header)} as in the header. {_QUOTES}"
            )
        if any(_QUOTED_LATE.fullmatch(cell) for cell in row):
            raise DataError(f"{path}, row {number}: a quote opens there behind a space. {_QUOTES}")
        if any("\n" in cell and _swallowed_rows(cell, place, len(row), score) for place, cell in enumerate(row)):
            raise DataError(f"{path}, row {number}: a quote opens there that closes rows later. {_QUOTES}")
        yield row


def _ended_lines(path: Path) -> Iterator[str]:
    """Lines that end in a line feed, a carriage return or both."""
    for line in read_lines(path):
        yield from _RETURN.split(line) if "\r" in line else (line,)


_RETURN = re.compile(r"(?<=\r)(?=[^\n])")
_QUOTES = (
    'A text with commas, quotes or line breaks goes in quotes, and a quote in it is doubled (""), not escaped (\\"). '
    "Correct the row, or write the file as JSON Lines."
)


def _said(error: csv.Error) -> str:
    """What the parser said, in words that help."""
    said = str(error)
    if "unexpected end of data" in said:
        return "a quote that opens there is never closed"
    return "a quote within a quoted text" if "expected after" in said else said


def _swallowed_rows(cell: str, column: int, num_columns: int, score: int | None) -> bool:
    """Whether a quoted text of several lines reads as rows of their own: whose opening quote was never closed."""
    first, *others = cell.split("\n")[:-1]
    rest = first.split(",")
    if len(rest) == num_columns - column > 1:
        return score is None or score <= column or bool(_SCORE.fullmatch(rest[score - column]))
    rows = [line.split(",") for line in others]
    return score is not None and any(len(row) == num_columns and _SCORE.fullmatch(row[score]) for row in rows)
