"""Files of records as people have them: JSON Lines, JSON, CSV, Parquet, plain or compressed; by their content."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from unirouter_torch.data.json_stream import ByteFile, JSONStream
from unirouter_torch.errors import DataError, first_few

JSONObject: TypeAlias = dict[str, Any]
FileKind: TypeAlias = Literal["parquet", "zip", "json", "lines", "csv", "empty"]
"""``json`` is one document, ``lines`` an object in each line."""

HEAD_BYTES = 1 << 18
_BOM = b"\xef\xbb\xbf"
_SCORE = re.compile(r'\s*(?:0|1|0?\.\d+|[01]\.\d*|true|false)\s*"?\s*', re.IGNORECASE)
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)


@contextmanager
def open_bytes(path: Path) -> Iterator[ByteFile]:
    """The bytes of a file, unpacked where it is compressed by gzip, Zstandard, bzip2 or xz.

    Raises:
        DataError: The file is missing, or damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Correct the path.")
    with path.open("rb") as raw:
        magic = raw.read(6)
    try:
        with ExitStack() as stack:
            yield stack.enter_context(_unpacking(path, magic))
    except _BROKEN as error:
        raise DataError(f"{path}: expected a whole file ({error}). Write or copy it again.") from None


def _unpacking(path: Path, magic: bytes) -> Any:
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rb")
    if magic.startswith(b"BZh"):
        return bz2.open(path, "rb")
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(path, "rb")
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def read_head(path: Path) -> bytes:
    """The first bytes of a file, unpacked.

    Raises:
        DataError: The file is missing, or damaged.
    """
    with open_bytes(path) as file:
        return file.read(HEAD_BYTES).removeprefix(_BOM)


def kind_of(head: bytes) -> FileKind:
    """What a file is by its first bytes."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    begin = head.lstrip()
    if not begin:
        return "empty"
    if begin.startswith(b"["):
        return "json"
    if not begin.startswith(b"{"):
        return "csv"
    line, is_whole, _ = begin.partition(b"\n")
    if not is_whole:  # one line fills the head: only its end would say more, and both are read alike
        return "lines"
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return "json"
    return "lines"


def read_records(path: Path) -> Iterator[tuple[str, JSONObject]]:
    """The objects of a file of JSON Lines or of a JSON array, one at a time, each with its place.

    Raises:
        DataError: The file is missing or damaged, or something in it is no JSON object in UTF-8.
    """
    if read_head(path).lstrip().startswith(b"["):
        for number, value in enumerate(read_items(path), start=1):
            yield (place := f"{path}, entry {number}"), as_object(value, place)
        return
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            yield place, as_object(parse_json(line, place), place)


def read_items(path: Path, *members: str) -> Iterator[Any]:
    """The items of the array in a JSON document that is the value of a member of a member, one at a time.

    Args:
        path: The file.
        members: Names from the outermost object on; none for an array at the top.

    Raises:
        DataError: The file is missing or damaged, is no JSON, or has no such array.
    """
    with open_bytes(path) as file:
        try:
            yield from JSONStream(file).items(members)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: expected JSON in UTF-8 ({error}). Write or copy the file again.") from None


def parse_json(content: bytes | str, place: str) -> Any:
    """Parse JSON.

    Raises:
        DataError: It is no JSON in UTF-8.
    """
    try:
        return json.loads(content.decode("utf-8") if isinstance(content, bytes) else content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: expected JSON in UTF-8 ({error}). Write or copy the file again.") from None


def as_object(value: Any, place: str) -> JSONObject:
    """The value, if it is a JSON object.

    Raises:
        DataError: It is something else.
    """
    if not isinstance(value, dict):
        raise DataError(f"{place}: got a {type(value).__name__}, expected a JSON object. Check the format of the file.")
    return value


def _lines(path: Path) -> Iterator[str]:
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, line {number}: expected UTF-8 ({error}). Save it in UTF-8.") from None


def read_csv_rows(path: Path) -> Iterator[list[str]]:
    """The header and the rows of a CSV file: commas, and quotes as RFC 4180 has them, doubled within a quoted text.

    What another program would read as something else is refused with its row: a quote that is not closed or not
    doubled, a row with more or fewer cells than the header, a quoted text that swallowed rows.

    Raises:
        DataError: The file is missing, damaged, not in UTF-8 or not such a file.
    """
    csv.field_size_limit(sys.maxsize)
    rows = csv.reader(_lines(path), strict=True)
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
        if any("\n" in cell and _swallowed_rows(cell, place, len(row), score) for place, cell in enumerate(row)):
            raise DataError(f"{path}, row {number}: a quote opens there that closes rows later. {_QUOTES}")
        yield row


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


def read_columns(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Any], list[str], int]:
    """Some columns of a file of records, whatever its form.

    Args:
        path: CSV, JSON Lines, a JSON array of objects, or Parquet; it may be compressed.
        wanted: Names of the columns; all others are passed over, whatever they hold.

    Returns:
        The values of each wanted column that is there, row by row, lists or Arrow columns; the names of all columns;
        the number of rows.

    Raises:
        DataError: The file is missing or damaged, is of another form, or has a wanted column twice.
    """
    kind = kind_of(read_head(path))
    if kind == "parquet":
        return _parquet_columns(path, wanted)
    if kind == "zip":
        raise DataError(f"{path}: got a ZIP archive, expected CSV, JSON Lines, JSON or Parquet. Unpack it.")
    if kind == "empty":
        raise DataError(f"{path}: got no rows, expected at least one. Check that the file was written whole.")
    return _csv_columns(path, wanted) if kind == "csv" else _json_columns(path, wanted)


def _csv_columns(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Any], list[str], int]:
    rows = read_csv_rows(path)
    names = next(rows)
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise DataError(f"{path}: column {twice[0]!r}: got several of that name, expected one. Rename the others.")
    places = {name: names.index(name) for name in wanted if name in names}
    found: dict[str, list[Any]] = {name: [] for name in places}
    num_rows = 0
    for row in rows:
        num_rows += 1
        for name, place in places.items():
            found[name].append(row[place])
    return found, names, num_rows


def _json_columns(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Any], list[str], int]:
    found: dict[str, list[Any]] = {name: [] for name in wanted}
    names: dict[str, None] = {}
    num_rows = 0
    for _, record in read_records(path):
        num_rows += 1
        names.update(dict.fromkeys(record))
        for name, values in found.items():
            values.append(record.get(name))
    return {name: values for name, values in found.items() if name in names}, list(names), num_rows


def _parquet_columns(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Any], list[str], int]:
    with open_bytes(path), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        twice = [name for name in wanted if names.count(name) > 1]
        if twice:
            raise DataError(f"{path}: column {twice[0]!r}: got several of that name, expected one. Rename the others.")
        table = file.read(columns=[name for name in wanted if name in names])
    return {name: table[name] for name in table.column_names}, names, table.num_rows or file.metadata.num_rows


def shown(value: object) -> str:
    """A value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def named_columns(names: Sequence[str]) -> str:
    """Names of columns for a message."""
    return first_few([repr(name) for name in names]) or "none"
