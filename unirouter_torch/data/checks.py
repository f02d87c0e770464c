"""Checks of the columns of a routing table; every message names the file, the column and the row."""

import sys
import warnings
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unirouter_torch.data.arrays import number_array, text_array
from unirouter_torch.data.files import shown
from unirouter_torch.errors import DataError
from unirouter_torch.messages import LAST_USER, prompt_text

Column: TypeAlias = pa.Array | pa.ChunkedArray
"""A column, in one piece or in several."""

_LARGEST = sys.float_info.max


def check_shape(table: pa.Table, place: str) -> None:
    """Refuse a table without rows, or with two columns of one name.

    Raises:
        DataError: It is such a table.
    """
    names = table.column_names
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{place}: column {twice[0]!r}: got several of that name, expected one. Rename the others.")
    if not table.num_rows:
        raise DataError(f"{place}: got no rows, expected at least one. Check that the file was written whole.")


def refuse_rows(bad: Column, values: Column, *, place: str, column: str, expected: str) -> None:
    """Refuse a column in which a row is marked as bad.

    Args:
        bad: True for each bad row; null counts as false.
        values: What the message shows of the first bad row.
        place: Where the column was read.
        column: Its name.
        expected: What was expected instead, and the next step; ends the message.

    Raises:
        DataError: A row is bad.
    """
    row = pc.index(bad, True).as_py()
    if row >= 0:
        raise DataError(
            f"{place}: column {column!r}, row {row + 1}: got {shown(values[row].as_py())}, expected {expected}"
        )


def refuse_repeats(keys: pa.Array, values: Column, *, place: str, column: str) -> None:
    """Refuse keys that occur a second time.

    Args:
        keys: One key for each row, without nulls.
        values: What the message shows of the first repeated row.
        place: Where the keys were read.
        column: Name of their column or columns.

    Raises:
        DataError: A key is repeated.
    """
    codes = pc.dictionary_encode(keys).indices.to_numpy()
    repeated = np.ones(len(codes), dtype=bool)
    repeated[np.unique(codes, return_index=True)[1]] = False
    expected = "each only once, but an earlier row has it too. Remove one of the rows."
    refuse_rows(pa.array(repeated), values, place=place, column=column, expected=expected)


def text_column(table: pa.Table, column: str, place: str, conversation: str = LAST_USER) -> pa.Array:
    """A required column of text that is nowhere empty, as one array of large strings.

    Arguments are those of :func:`optional_text_column`.

    Raises:
        DataError: The column is missing, is not text in UTF-8, or is null or blank somewhere.
    """
    _require(table, column, place)
    text = optional_text_column(table, column, place, conversation)
    refuse_rows(pc.is_null(text), text, place=place, column=column, expected="text that is not empty. Fill it in.")
    return text


def optional_text_column(table: pa.Table, column: str, place: str, conversation: str = LAST_USER) -> pa.Array:
    """A column of text as one array of large strings; null where it is missing or blank.

    Whole numbers are taken as their digits, and conversations, also those written as JSON, as their prompt.

    Args:
        table: Has the column.
        column: Its name.
        place: Where it was read, for messages.
        conversation: The rule by which a conversation becomes its prompt.

    Raises:
        DataError: The column is something else, or not in UTF-8.
    """
    found = _find(table, column)
    if found is None:
        return pa.nulls(table.num_rows, pa.large_string())
    if pa.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    if _is_text(found.type):
        text = found.cast(pa.large_string()).combine_chunks()
    else:
        text = text_array(found.to_pylist(), place=place, column=column, conversation=conversation)
    try:
        text.validate(full=True)
    except pa.ArrowInvalid as error:
        raise DataError(f"{place}: column {column!r}: expected UTF-8 ({error}). Write the file in UTF-8.") from None
    text = _without_json(text, conversation)
    blank = pc.equal(pc.utf8_trim_whitespace(text), "")
    return pc.if_else(blank, pa.scalar(None, pa.large_string()), text)


def _without_json(text: pa.Array, conversation: str) -> pa.Array:
    """The texts with the prompt of each conversation that is written as a list; few columns hold any."""
    is_list = pc.and_(
        pc.starts_with(pc.utf8_ltrim_whitespace(text), "["), pc.match_substring_regex(text, "[\"']role[\"']")
    )
    if not pc.any(is_list).as_py():
        return text
    prompts = [prompt_text(value, conversation) for value in text.filter(is_list).to_pylist()]
    return pc.replace_with_mask(text, pc.fill_null(is_list, False), pa.array(prompts, pa.large_string()))


def number_column(table: pa.Table, column: str, place: str, *, upper: float = _LARGEST) -> pa.Array:
    """A column of numbers in [0, ``upper``] as one array of doubles; null where it is missing, null or NaN.

    Numbers may be written as text, and right and wrong in any writing as 1 and 0.

    Raises:
        DataError: The column is not of numbers, or one is infinite, negative, or above ``upper``.
    """
    found = _find(table, column)
    if found is None:
        return pa.nulls(table.num_rows, pa.float64())
    if pa.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    if _is_number(found.type):
        numbers = found.cast(pa.float64(), safe=False).combine_chunks()
    elif _is_text(found.type):
        numbers = number_array(found.to_pylist(), place=place, column=column)
    else:
        raise DataError(f"{place}: column {column!r}: got the type {found.type}, expected numbers. Convert it.")
    numbers = pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    inside = pc.and_(pc.greater_equal(numbers, 0.0), pc.less_equal(numbers, upper))
    wanted = f"a number in [0, {upper:g}]" if upper < _LARGEST else "a finite number of at least 0, or null if unknown"
    refuse_rows(pc.invert(inside), numbers, place=place, column=column, expected=f"{wanted}. Correct the value.")
    return numbers


def score_column(table: pa.Table, place: str) -> pa.Array:
    """The required column ``score`` in [0, 1] as one array of doubles; null where an answer was not graded.

    Raises:
        DataError: The column is missing or not of numbers, nothing was graded, or a score is outside [0, 1].
    """
    _require(table, "score", place)
    return number_column(table, "score", place, upper=1.0)


def warn_of_ungraded(score: Column, place: str) -> None:
    """Say how many rows have no score, which are left out."""
    if score.null_count:
        message = f"{score.null_count} of {len(score)} rows have no score and are left out."
        warnings.warn(f"{place}: {message}", UserWarning, stacklevel=2)


def _require(table: pa.Table, column: str, place: str) -> None:
    if _find(table, column) is None:
        names = ", ".join(table.column_names)
        raise DataError(f"{place}: column {column!r} is missing or empty; got the columns {names}. Add or rename it.")


def _find(table: pa.Table, column: str) -> pa.ChunkedArray | None:
    """The column; none where it is missing or null throughout."""
    if column not in table.column_names or table[column].null_count == table.num_rows:
        return None
    return table[column]


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(test(kind) for test in tests)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
