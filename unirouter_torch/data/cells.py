"""Numbers as people write them in a table."""

import math
import re
import unicodedata
from typing import Any

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
DECIMAL_COMMA = re.compile(r"\A\D*\d+,\d+\D*\Z")
CURRENCY = re.compile(r"[€£¥₹₩₽]|\b(?:eur|gbp|cny|rmb|jpy|inr|chf|cad|aud)\b", re.IGNORECASE)


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
