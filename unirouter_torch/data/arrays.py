"""Values of a column as people write them, as an Arrow column of the one type that the column has."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from unirouter_torch.data.cells import CURRENCY, DECIMAL_COMMA, as_number, is_unknown
from unirouter_torch.data.files import shown
from unirouter_torch.errors import DataError
from unirouter_torch.messages import LAST_USER, prompt_text


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
            said = f"{place}: column {column!r}, row {row}: got {shown(value)}, expected a number"
            if isinstance(value, str) and DECIMAL_COMMA.search(value):
                raise DataError(f"{said} with a decimal point. Write it so.")
            if isinstance(value, str) and CURRENCY.search(value):
                raise DataError(f"{said}; costs are in US dollars. Convert them.")
            raise DataError(f"{said}. Correct it.")
        numbers.append(number)
    return pa.array(numbers, pa.float64())
