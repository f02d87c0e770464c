"""Values of a column as people write them, as the one type that the column has."""

import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from unirouter_torch.data.files import shown
from unirouter_torch.errors import DataError
from unirouter_torch.messages import LAST_USER, prompt_text

_RIGHT = {"true", "t", "yes", "y", "right", "correct", "pass", "passed", "ok", "on", "success", "successful"}
_RIGHT |= {"np.true_", "succeeded", "wahr", "richtig", "ja", "vrai", "oui", "verdadero", "sí", "vero", "sì", "sim"}
_RIGHT |= {"verdadeiro"} | set("✓✔☑✅👍是对")
_WRONG = {"false", "f", "no", "n", "wrong", "incorrect", "fail", "failed", "failure", "off", "np.false_"}
_WRONG |= {"falsch", "nein", "faux", "non", "falso", "não", "错误"} | set("✗✘☒❌❎👎否错")
_UNKNOWN = {"", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "nat", "null", "(null)", "\\n", "none", "nil", "undefined"}
_UNKNOWN |= {"unknown", "missing", "?", "-", "--", "–", "—"}
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)(?:(?:us)?\$ ?|usd )?"
    r"(?P<digits>[1-9]\d{0,2}(?P<gap>[, '])\d{3}(?:(?P=gap)\d{3})*(?:\.\d*)?|\d+\.?\d*|\.\d+)(?P<power>e[-+]?\d+)?"
    r"(?:(?P<percent> ?%)| ?(?:us)?\$| usd)?",
    re.ASCII,
)
_DECIMAL_COMMA = re.compile(r"\A\D*\d+,\d+\D*\Z")
_CURRENCY = re.compile(r"[€£¥₹₩₽]|\b(?:eur|gbp|cny|rmb|jpy|inr|chf|cad|aud)\b", re.IGNORECASE)


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
            if isinstance(value, str) and _DECIMAL_COMMA.search(value):
                raise DataError(f"{said} with a decimal point. Write it so.")
            if isinstance(value, str) and _CURRENCY.search(value):
                raise DataError(f"{said}; costs are in US dollars. Convert them.")
            raise DataError(f"{said}. Correct it.")
        numbers.append(number)
    return pa.array(numbers, pa.float64())


def as_number(value: Any) -> float | None:
    """A number, or one written as text, or right and wrong in any writing as 1 and 0; None for anything else.

    In text thousands may be separated by commas, spaces or apostrophes, ``95%`` is 0.95, and a sign of US dollars is
    passed over. A decimal comma and other currencies are no numbers here, as nothing says that they are meant.
    """
    if isinstance(value, str):
        word = _plain(value)
        if word in _RIGHT or word in _WRONG:
            return float(word in _RIGHT)
        found = _NUMBER.fullmatch(word)
        if found is None:
            return None
        digits = re.sub("[, ']", "", found["digits"])
        return float(f"{found['sign']}{digits}{found['power'] or ''}") / (100 if found["percent"] else 1)
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
        return _plain(value) in _UNKNOWN
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(text: str) -> str:
    """A cell without what equal values differ in: width, case and the space around it."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\ufe0f", "").replace("’", "'")
    return text.strip().casefold()
