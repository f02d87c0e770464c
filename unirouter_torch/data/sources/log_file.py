"""One CSV, JSON Lines, JSON or Parquet file with a row for each outcome: anybody's own log."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unirouter_torch.data.arrays import number_array, text_array
from unirouter_torch.data.cells import as_number, is_unknown
from unirouter_torch.data.checks import (
    check_shape,
    number_column,
    optional_text_column,
    refuse_rows,
    score_column,
    text_column,
    warn_of_ungraded,
)
from unirouter_torch.data.columns import read_columns
from unirouter_torch.data.files import is_hidden, shown
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.data.table import TablePlaces
from unirouter_torch.errors import DataError, first_few
from unirouter_torch.messages import LAST_USER

_LLM_COLUMNS = ("params_b", "price_in", "price_out")
_OF_PROMPTS = ("prompt", "prompt_id", "source")
_TEXTS = (*_OF_PROMPTS, "llm", "llm_group")
_NUMBERS = ("score", "cost", "output_tokens", *_LLM_COLUMNS)


def read_log(path: Path, conversation: str = LAST_USER) -> SourceTables:
    """Read a log with one outcome in each row.

    It has the columns ``prompt``, ``llm``, ``score``, and where known ``prompt_id``, ``source``, ``cost`` [US dollars],
    ``output_tokens``, ``params_b`` [billions], ``price_in`` and ``price_out`` [US dollars per million tokens], and
    ``llm_group``, equal for settings of one LLM.
    Without ``prompt_id`` equal texts are one prompt. Other columns are ignored, whatever they hold. Rows without a
    score are left out with a warning.

    Args:
        path: CSV, JSON Lines, a JSON array of objects, or Parquet; the first three in UTF-8, compressed or not.
        conversation: The rule by which a conversation becomes its prompt.

    Returns:
        The prompts, the LLMs and the outcomes of the log.

    Raises:
        DataError: The file is missing, is not in UTF-8 or cannot be parsed, a value is not what its column expects, or
            rows contradict one another about a prompt or an LLM.
    """
    rows, place = read_log_columns(path, _TEXTS, _NUMBERS, conversation), str(path)
    check_shape(rows, place)
    text, llm = text_column(rows, "prompt", place, conversation), text_column(rows, "llm", place)
    prompt_id = text_column(rows, "prompt_id", place) if "prompt_id" in rows.column_names else _derived_ids(text)
    prompts = {"prompt": text, "source": optional_text_column(rows, "source", place)}
    models = {column: number_column(rows, column, place) for column in _LLM_COLUMNS}
    models["llm_group"] = optional_text_column(rows, "llm_group", place)
    score = score_column(rows, place)
    warn_of_ungraded(score, place)
    outcomes = pa.table(
        {
            "prompt_id": prompt_id,
            "model_id": llm,
            "score": score,
            "cost_usd": number_column(rows, "cost", place),
            "output_tokens": number_column(rows, "output_tokens", place),
        }
    ).filter(pc.is_valid(score))
    of_prompts = _one_row_each("prompt_id", prompt_id, prompts, place)
    of_llms = _one_row_each("model_id", llm, models, place)
    return SourceTables(
        prompts=of_prompts.filter(pc.is_in(of_prompts["prompt_id"], value_set=outcomes["prompt_id"])),
        models=of_llms.filter(pc.is_in(of_llms["model_id"], value_set=outcomes["model_id"])),
        outcomes=outcomes,
        places=TablePlaces(place, place, place),
    )


def read_log_columns(
    path: Path, texts: Sequence[str], numbers: Sequence[str], conversation: str = LAST_USER
) -> pa.Table:
    """The columns of a log, converted to their types but not checked; those that are not used are null.

    A table without ``llm`` and ``score`` may have a column for each LLM, with its scores: it becomes rows of outcomes.

    Args:
        path: The log.
        texts: Columns to read that hold text.
        numbers: Columns to read that hold numbers.
        conversation: The rule by which a conversation becomes its prompt.

    Raises:
        DataError: The file is missing, cannot be parsed, or a value cannot be converted.
    """
    columns, names, num_rows = read_columns(path, (*texts, *numbers, "answer"))
    place = str(path)
    if columns.keys() & {"prompt", "prompt_id"} and not columns.keys() & {"llm", "score", "answer"}:
        columns, names, num_rows = _melted(path, columns, names, num_rows)
    for name, values in columns.items():
        if isinstance(values, list) and name in texts:
            columns[name] = text_array(values, place=place, column=name, conversation=conversation)
        elif isinstance(values, list) and name in numbers:
            columns[name] = number_array(values, place=place, column=name)
    used = {*texts, *numbers}
    return pa.table({name: columns[name] if name in used & columns.keys() else pa.nulls(num_rows) for name in names})


def _melted(
    path: Path, columns: dict[str, Any], names: Sequence[str], num_rows: int
) -> tuple[dict[str, Any], list[str], int]:
    """A table with a column for each LLM as rows of outcomes, those of the first LLM first.

    Raises:
        DataError: A column is neither of prompts nor the scores of an LLM.
    """
    llms = [name for name in names if name not in _OF_PROMPTS and name.strip()]
    expected = (
        "A log has the columns prompt, llm and score; without llm and score every column but prompt, prompt_id and "
        "source is an LLM with its scores in [0, 1]. Remove the column, or write a row for each outcome, as by pandas: "
        'table.melt(["prompt"], var_name="llm", value_name="score").'
    )
    found, _, _ = read_columns(path, llms)
    scores: list[float | None] = []
    for llm in llms:
        values = found[llm] if isinstance(found[llm], list) else found[llm].to_pylist()
        numbers = [as_number(value) for value in values]
        for row, (number, value) in enumerate(zip(numbers, values, strict=True), start=1):
            if llm in columns or (number is None and not is_unknown(value)) or not 0 <= (number or 0.0) <= 1:
                raise DataError(f"{path}: column {llm!r}, row {row}: got {shown(value)}. {expected}")
        scores += numbers
    if not any(score is not None for score in scores):
        raise DataError(f"{path}: got the columns {', '.join(names)}, but no scores. {expected}")
    message = f"{path}: each column but those of the prompts is an LLM with its scores: {first_few(llms)}."
    warnings.warn(message, UserWarning, stacklevel=2)
    repeated = {
        name: (values if isinstance(values, list) else values.to_pylist()) * len(llms)
        for name, values in columns.items()
    }
    named = [llm for llm in llms for _ in range(num_rows)]
    melted = repeated | {"llm": named, "score": scores}
    return melted, list(melted), num_rows * len(llms)


def _derived_ids(text: pa.Array) -> pa.Array:
    encoded = text.dictionary_encode()
    ids = [hashlib.sha256(prompt.encode()).hexdigest()[:16] for prompt in encoded.dictionary.to_pylist()]
    return pa.array(ids, pa.large_string()).take(encoded.indices)


def _one_row_each(key: str, values: pa.Array, columns: dict[str, pa.Array], place: str) -> pa.Table:
    """One row for each distinct value of the key, with what the log says of it."""
    encoded = values.dictionary_encode()
    described = {}
    for column, given in columns.items():
        described[column], contradicts = _first_known(given, encoded)
        expected = "what an earlier row says of the same prompt_id or llm. Make the rows agree."
        refuse_rows(contradicts, given, place=place, column=column, expected=expected)
    return pa.table({key: encoded.dictionary, **described})


def _first_known(values: pa.Array, owner: pa.DictionaryArray) -> tuple[pa.Array, pa.Array]:
    """The first value that is known of each owner, and which values differ from that of their owner."""
    known = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    owners, first = np.unique(owner.indices.to_numpy()[known], return_index=True)
    row_of = np.full(len(owner.dictionary), -1)
    row_of[owners] = known[first]
    found = values.take(pa.array(row_of, mask=row_of < 0))
    return found, pc.not_equal(values, found.take(owner.indices))


def read_log_folder(folder: Path, conversation: str = LAST_USER) -> SourceTables:
    """Read the logs in a folder as one log, such as a file for each month; each as :func:`read_log` does.

    Args:
        folder: Its files that are not hidden are read, those in folders below, too.
        conversation: The rule by which a conversation becomes its prompt.

    Raises:
        DataError: As there, of any of the files; or two files contradict one another.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not is_hidden(path, folder)]
    if not files:
        raise DataError(f"{folder}: got no files, expected logs. Correct the path.")
    logs = [read_log(file, conversation) for file in files]
    place = str(folder)
    return SourceTables(
        prompts=_joined("prompt_id", [log.prompts for log in logs], files),
        models=_joined("model_id", [log.models for log in logs], files),
        outcomes=pa.concat_tables([log.outcomes for log in logs]),
        places=TablePlaces(place, place, place),
    )


def _joined(key: str, tables: Sequence[pa.Table], files: Sequence[Path]) -> pa.Table:
    """One row for each distinct value of the key, with what the files say of it.

    Raises:
        DataError: Two of them contradict one another.
    """
    rows = pa.concat_tables(tables).combine_chunks()
    file_of = [file for file, table in zip(files, tables, strict=True) for _ in range(table.num_rows)]
    owner = rows[key].combine_chunks().dictionary_encode()
    described = {}
    for column in rows.column_names:
        values = rows[column].combine_chunks()
        described[column], contradicts = _first_known(values, owner)
        if (row := pc.index(contradicts, True).as_py()) >= 0:
            raise DataError(
                f"{file_of[row]}: column {column!r}: got {shown(values[row].as_py())} for {rows[key][row].as_py()!r}, "
                "expected what an earlier file says of the same prompt_id or llm. Make the files agree."
            )
    return pa.table(described)
