"""Values of a column as people write them, as the one type that the column has."""

import math
import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from unirouter_torch.data.files import shown
from unirouter_torch.errors import DataError
from unirouter_torch.messages import LAST_USER, prompt_text

_RIGHT = frozenset(("true", "t", "yes", "y", "right", "correct", "pass", "passed"))
_WRONG = frozenset(("false", "f", "no", "n", "wrong", "incorrect", "fail", "failed"))
_UNKNOWN = frozenset(("", "na", "n/a", "#n/a", "nan", "null", "none", "-"))
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


def text_array(values: Iterable[Any], *, place: str, column: str, conversation: str = LAST_USER) -> pa.Array:
    """A column of text: strings as they are, whole numbers by their digits, conversations by their prompt.

    Args:
        values: What the column holds.
        place: Where it was read, for messages.
        column: Its name.
        conversation: The rule by which a conversation becomes its prompt.

    Raises:
        DataError: A value is something else.
    """
    texts = []
    for row, value in enumerate(values, start=1):
        text = _text(value, conversation)
        if text is None and value is not None and value == value:
            expected = "text, a whole number, or a list of messages with role and content"
            raise DataError(f"{place}: column {column!r}, row {row}: got {shown(value)}, expected {expected}.")
        texts.append(text)
    return pa.array(texts, pa.large_string())


def _text(value: Any, conversation: str) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return prompt_text(value, conversation)


def number_array(values: Iterable[Any], *, place: str, column: str) -> pa.Array:
    """A column of numbers: also written as text, and right and wrong as 1 and 0; null where there is none (NaN, too).

    Raises:
        DataError: A value is something else.
    """
    numbers = []
    for row, value in enumerate(values, start=1):
        number = as_number(value)
        if number is None and not is_unknown(value):
            raise DataError(
                f"{place}: column {column!r}, row {row}: got {shown(value)}, expected a number. Correct it."
            )
        numbers.append(number)
    return pa.array(numbers, pa.float64())


def as_number(value: Any) -> float | None:
    """A number, or one written as text, or right and wrong in any writing as 1 and 0; None for anything else."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _RIGHT or word in _WRONG:
            return float(word in _RIGHT)
        return float(word) if _NUMBER.fullmatch(word) else None
    if isinstance(value, bool | int | float):
        try:
            number = float(value)
        except OverflowError:  # an integer of hundreds of digits
            return math.inf
        return None if math.isnan(number) else number
    return None


def is_unknown(value: Any) -> bool:
    """Whether a value says that nothing is known: null, NaN, an empty cell, NA."""
    if isinstance(value, str):
        return value.strip().lower() in _UNKNOWN
    return value is None or (isinstance(value, float) and math.isnan(value))
