"""Columns of a file of records by their names, whatever its form."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unirouter_torch.data.csv_rows import read_csv_rows
from unirouter_torch.data.files import as_object, json_paths, kind_of, read_head, read_items, read_records
from unirouter_torch.errors import DataError
from unirouter_torch.messages import whole_characters


def read_columns(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Any], list[str], int]:
    """Some columns of a file of records, whatever its form.

    A column goes by its name whatever its case and the spaces around it; where several do, by the one that is the same.

    Args:
        path: CSV, JSON Lines, a JSON array of objects or an object with one as ``data``, or Parquet; it may be
            compressed.
        wanted: Names of the columns; all others are passed over, whatever they hold.

    Returns:
        The values of each wanted column that is there, row by row, lists or Arrow columns; the names of all columns,
        those of the wanted as they were asked for; the number of rows.

    Raises:
        DataError: The file is missing or damaged, is of another form, or has a wanted column twice.
    """
    head = read_head(path)
    kind = kind_of(head)
    if kind == "parquet":
        return _parquet_columns(path, wanted)
    if kind == "zip":
        raise DataError(f"{path}: got a ZIP archive, expected CSV, JSON Lines, JSON or Parquet. Unpack it.")
    if kind == "empty":
        raise DataError(f"{path}: got no rows, expected at least one. Check that the file was written whole.")
    return _csv_columns(path, wanted) if kind == "csv" else _json_columns(path, wanted, head)


def plain_name(name: str) -> str:
    """The name of a column without what equal names differ in: case and the spaces around it."""
    return name.strip().casefold()


def _found(names: Iterable[str], wanted: Sequence[str], path: Path) -> dict[str, str]:
    """The name in the file of each wanted column that is there.

    Raises:
        DataError: One is there twice.
    """
    found = {}
    for name in wanted:
        same = [one for one in names if one == name] or [one for one in names if plain_name(one) == plain_name(name)]
        if len(same) > 1:
            raise DataError(f"{path}: column {name!r}: got several of that name, expected one. Rename the others.")
        if same:
            found[name] = same[0]
    return found


def _renamed(names: Iterable[str], found: dict[str, str]) -> list[str]:
    asked = {name: one for one, name in found.items()}
    return [asked.get(name, whole_characters(name)) for name in names]


def _csv_columns(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Any], list[str], int]:
    rows = read_csv_rows(path)
    names = next(rows)
    found = _found(names, wanted, path)
    places = {name: names.index(one) for name, one in found.items()}
    columns: dict[str, list[Any]] = {name: [] for name in places}
    num_rows = 0
    for row in rows:
        num_rows += 1
        for name, place in places.items():
            columns[name].append(row[place])
    return columns, _renamed(names, found), num_rows


def _json_columns(path: Path, wanted: Sequence[str], head: bytes) -> tuple[dict[str, Any], list[str], int]:
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    names: dict[str, None] = {}
    members: tuple[str, ...] = ()
    found: dict[str, str] = {}
    num_rows = 0
    for record in _json_rows(path, wanted, head):
        num_rows += 1
        if (here := tuple(record)) != members:
            members, found = here, _found(here, wanted, path)
            names.update(dict.fromkeys(_renamed(here, found)))
        for name, values in columns.items():
            values.append(record[found[name]] if name in found else None)
    return {name: values for name, values in columns.items() if name in names}, list(names), num_rows


def _json_rows(path: Path, wanted: Sequence[str], head: bytes) -> Iterable[dict[str, Any]]:
    paths = json_paths(head)
    has_own = any(name in paths and f"data[].{name}" not in paths for name in wanted)
    if not has_own and any(one.startswith("data[]") for one in paths):
        return (as_object(one, f"{path}, entry {row}") for row, one in enumerate(read_items(path, "data"), start=1))
    return (record for _, record in read_records(path))


def _parquet_columns(path: Path, wanted: Sequence[str]) -> tuple[dict[str, Any], list[str], int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            found = _found(names, wanted, path)
            table = file.read(columns=list(found.values()))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: expected a whole file ({error}). Write or copy it again.") from None
    columns = {name: table[one] for name, one in found.items()}
    return columns, _renamed(names, found), table.num_rows or file.metadata.num_rows
