"""One CSV, JSON Lines, JSON or Parquet file with a row for each outcome: anybody's own log."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unirouter_torch.data.cells import number_array, text_array
from unirouter_torch.data.checks import (
    check_shape,
    number_column,
    optional_text_column,
    refuse_rows,
    score_column,
    text_column,
    warn_of_ungraded,
)
from unirouter_torch.data.files import read_columns
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.data.table import TablePlaces
from unirouter_torch.messages import LAST_USER

_LLM_COLUMNS = ("params_b", "price_in", "price_out")
TEXTS = ("prompt", "llm", "prompt_id", "source", "answer", "llm_group")
"""Columns of a log that hold text."""
NUMBERS = ("score", "cost", "input_tokens", "output_tokens", *_LLM_COLUMNS)
"""Columns of a log that hold numbers."""


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
    rows, place = read_log_columns(path, conversation), str(path)
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


def read_log_columns(path: Path, conversation: str = LAST_USER) -> pa.Table:
    """The columns of a log, converted to their types but not checked; those that are not used are null.

    Arguments are those of :func:`read_log`.

    Raises:
        DataError: The file is missing, cannot be parsed, or a value cannot be converted.
    """
    columns, names, num_rows = read_columns(path, (*TEXTS, *NUMBERS))
    place = str(path)
    for name, values in columns.items():
        if isinstance(values, list):
            if name in TEXTS:
                columns[name] = text_array(values, place=place, column=name, conversation=conversation)
            else:
                columns[name] = number_array(values, place=place, column=name)
    return pa.table({name: columns.get(name, pa.nulls(num_rows)) for name in names})


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
