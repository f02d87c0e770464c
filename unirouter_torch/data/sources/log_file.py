"""One CSV or JSON Lines file with a row for each outcome: anybody's own log."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, json

from unirouter_torch.data.checks import (
    check_shape,
    number_column,
    optional_text_column,
    refuse_rows,
    score_column,
    text_column,
)
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.data.table import TablePlaces
from unirouter_torch.errors import DataError

SUFFIXES = (".csv", ".jsonl")
"""Endings of the file names that are read as a log."""

_LLM_COLUMNS = ("params_b", "price_in", "price_out")
_TYPES = {column: pa.string() for column in ("prompt", "llm", "prompt_id", "source")} | {
    column: pa.float64() for column in ("score", "cost", "input_tokens", "output_tokens", *_LLM_COLUMNS)
}
_HEADER = 200
_LARGEST_BLOCK = 2**31 - 1


def read_log(path: Path) -> SourceTables:
    """Read a log with one outcome in each row.

    It has the columns ``prompt``, ``llm``, ``score``, and where known ``prompt_id``, ``source``, ``cost`` [US dollars],
    ``output_tokens``, ``params_b`` [billions], ``price_in`` and ``price_out`` [US dollars per million tokens].
    Without ``prompt_id`` equal texts are one prompt. Other columns are ignored.

    Args:
        path: A file that ends in one of :data:`SUFFIXES`, in UTF-8.

    Returns:
        The prompts, the LLMs and the outcomes of the log.

    Raises:
        DataError: The file is missing, is not in UTF-8 or cannot be parsed, a value is not what its column expects, or
            rows contradict one another about a prompt or an LLM.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Correct the path.")
    rows, place = parse_log(path), str(path)
    check_shape(rows, place)
    text, llm = text_column(rows, "prompt", place), text_column(rows, "llm", place)
    prompt_id = text_column(rows, "prompt_id", place) if "prompt_id" in rows.column_names else _derived_ids(text)
    prompts = {"prompt": text, "source": optional_text_column(rows, "source", place)}
    models = {column: number_column(rows, column, place) for column in _LLM_COLUMNS}
    outcomes = {
        "prompt_id": prompt_id,
        "model_id": llm,
        "score": score_column(rows, place),
        "cost_usd": number_column(rows, "cost", place),
        "output_tokens": number_column(rows, "output_tokens", place),
    }
    return SourceTables(
        prompts=_one_row_each("prompt_id", prompt_id, prompts, place),
        models=_one_row_each("model_id", llm, models, place),
        outcomes=pa.table(outcomes),
        places=TablePlaces(place, place, place),
    )


def parse_log(path: Path) -> pa.Table:
    """The columns of a log that are not null throughout, unchecked.

    Raises:
        DataError: The file is not in UTF-8 or cannot be parsed.
    """
    _check_encoding(path)
    _check_form(path)
    # one block, so that the parser counts rows from the start
    block_size = min(path.stat().st_size + 1, _LARGEST_BLOCK)
    try:
        table = _parsed_csv(path, block_size) if path.suffix.lower() == ".csv" else _parsed_jsonl(path, block_size)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: {_with_data_row(str(error))}. Correct the row, or write the file again.") from None
    return table.select([number for number, column in enumerate(table.columns) if column.null_count < table.num_rows])


def _check_encoding(path: Path) -> None:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, line {number}: expected UTF-8 ({error}). Save it in UTF-8.") from None


def _check_form(path: Path) -> None:
    """Refuse what is often taken for a log, and of which the parsers say little that helps."""
    with path.open(encoding="utf-8-sig") as file:
        begin = file.readline(_HEADER).strip()
    if path.suffix.lower() == ".jsonl" and begin.startswith("["):
        raise DataError(f"{path}: got a JSON array, expected one object in a line. Write each object in its own line.")
    if path.suffix.lower() == ".csv" and "," not in begin and re.search("[;\t|]", begin):
        raise DataError(f"{path}: the header {begin!r} has no comma, expected commas between columns. Save it so.")


def _parsed_csv(path: Path, block_size: int) -> pa.Table:
    return csv.read_csv(
        path,
        read_options=csv.ReadOptions(use_threads=False, block_size=block_size),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=_TYPES),
    )


def _parsed_jsonl(path: Path, block_size: int) -> pa.Table:
    return json.read_json(
        path,
        read_options=json.ReadOptions(use_threads=False, block_size=block_size),
        parse_options=json.ParseOptions(explicit_schema=pa.schema(_TYPES), unexpected_field_behavior="ignore"),
    )


def _with_data_row(message: str) -> str:
    """The parser's message, with data rows and columns from 1: CSV counts the header, JSON counts from 0."""
    message = re.sub(r"In CSV column #(\d+)", lambda found: f"column {int(found[1]) + 1}", message)
    message = re.sub(r"Row #(\d+)", lambda found: f"row {int(found[1]) - 1}", message)
    return re.sub(r"in row (\d+)", lambda found: f"in row {int(found[1]) + 1}", message).rstrip(".")


def _derived_ids(text: pa.Array) -> pa.Array:
    encoded = text.dictionary_encode()
    ids = [hashlib.sha256(prompt.encode()).hexdigest()[:16] for prompt in encoded.dictionary.to_pylist()]
    return pa.array(ids, pa.large_string()).take(encoded.indices)


def _one_row_each(key: str, values: pa.Array, columns: dict[str, pa.Array], place: str) -> pa.Table:
    """One row for each distinct value of the key, with what the log says of it."""
    encoded = values.dictionary_encode()
    described = {name: _first_known(column, encoded, place=place, column=name) for name, column in columns.items()}
    return pa.table({key: encoded.dictionary, **described})


def _first_known(values: pa.Array, owner: pa.DictionaryArray, *, place: str, column: str) -> pa.Array:
    known = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    owners, first = np.unique(owner.indices.to_numpy()[known], return_index=True)
    row_of = np.full(len(owner.dictionary), -1)
    row_of[owners] = known[first]
    found = values.take(pa.array(row_of, mask=row_of < 0))
    contradicts = pc.not_equal(values, found.take(owner.indices))
    expected = "what an earlier row says of the same prompt_id or llm. Make the rows agree."
    refuse_rows(contradicts, values, place=place, column=column, expected=expected)
    return found
