"""Whether an answer ends in the number of the reference."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from unirouter_torch.config.checks import at_least
from unirouter_torch.measurement.grader import Grader, UngradedError

_SIGNS = str.maketrans("．，％－−﹣–＋⁄∕٫٬٪’\u00a0\u2009\u202f\u2007", ".,%----+//.,%'    ")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_VULGAR = {
    letter: f"{top}/{bottom}"
    for letters, bottom in (("½", 2), ("⅓⅔", 3), ("¼", 4), ("⅕⅖⅗⅘", 5), ("⅙", 6), ("⅛", 8))
    for top, letter in enumerate(letters, start=1)
} | {"¾": "3/4", "⅚": "5/6", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8"}
_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r" \1/\2 "),
    (re.compile(r"\\[dt]?frac\s*(\d)\s*(\d)"), r" \1/\2 "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<=\d)\\[,; ]\s*(?=\d{3})"), " "),
    (re.compile(r"\\(?:times|cdot)\b"), "×"),
    (re.compile(r"\\([%$])"), r"\1"),
)
_PLAIN = (
    r"(?:[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?:\.\d+)?(?!,?\d)"  # 1,234.5 and 12,34,567
    r"|[1-9]\d{0,2}(?:(?:\.\d{3}){2,}(?:,\d+)?|\.\d{3},\d+)(?![.,]?\d)"  # 1.234.567 and 1.234,5
    r"|[1-9]\d{0,2}(?:(?: \d{3})+|(?:'\d{3})+|(?:_\d{3})+)(?:[.,]\d+)?(?!\d)"  # 1 234,5 and 1'234.5
    r"|(?<!\d,)\d+,\d+(?![.,]?\d)"  # 3,5
    r"|\d+(?:\.\d+)?|\.\d+)"
)
_POWER = (
    r"(?:\s*[x×*·⋅]\s*10\s*\^\s*[{(]?\s*(?P<ten>[-+]?\d+)|[eE](?P<e>[-+]?\d+)(?!\w)|\s*\^\s*[{(]?\s*(?P<to>[-+]?\d+))"
)
_FRACTION = rf"(?:(?P<units>\d{{1,3}})(?: +|-| and ))?(?P<top>{_PLAIN})\s*/\s*(?P<bottom>{_PLAIN})(?!\s*/\s*\d)"
_NUMBER = rf"(?<![\^.])(?<!\^[-{{])(?<!\^{{-)(?<!_{{)(?:(?<!\d/){_FRACTION}|(?P<plain>{_PLAIN}){_POWER}?)"
_ALONE = re.compile(rf"(?<!\w){_NUMBER}", re.ASCII)
_ATTACHED = re.compile(rf"(?<!\d){_NUMBER}", re.ASCII)
_MINUS = re.compile(r"(?:^|[^\w)\]}.]) *- ?[$€£¥₹]? ?\Z")
_SCALES = {
    "thousand": 1e3,
    "million": 1e6,
    "billion": 1e9,
    "trillion": 1e12,
    "万": 1e4,
    "萬": 1e4,
    "亿": 1e8,
    "億": 1e8,
}
_PERCENT = r"%|per ?cent\b|prozent\b|por ciento\b|pour cent\b"
_MARK = re.compile(rf"\s*(?:(?P<percent>{_PERCENT})|(?P<scale>{'|'.join(_SCALES)}))", re.IGNORECASE)


class Number(NamedTuple):
    """A number of a text.

    Attributes:
        written: As it is written: 45 of ``45%``.
        meant: What it means: 0.45 of ``45%``; the same where nothing is behind it.
    """

    written: float
    meant: float


class NumberGrader(Grader):
    r"""1 if the number of the answer is that of the reference.

    The number of a text is the last one in the last ``\boxed{...}``, else after the last ``####``, else in all of it. A
    fraction is one number, also a mixed one; commas, spaces, apostrophes or points may separate thousands; a comma
    before one, two or more than three digits is a decimal comma; ``5 x 10^3`` and ``5e3`` are one number. What is
    attached to letters (``H2O``, ``m^2``) counts only where no other number is there. Units do not matter. ``45%`` is
    0.45, and equals 45, too, where the other side has no percent sign; likewise ``3 million``.

    Args:
        tolerance: Difference that counts as none, relative to the reference where that is above 1, at least 0.
    """

    name = "number"

    def __init__(self, *, tolerance: float = 1e-6) -> None:
        at_least("tolerance", tolerance, 0)
        self._tolerance = tolerance

    def grade(self, prompt: str, answer: str, reference: str) -> float:
        """1 or 0.

        Raises:
            UngradedError: The reference has no number.
        """
        expected, found = last_number(reference), last_number(answer)
        if expected is None:
            raise UngradedError("no number in the reference")
        if found is None:
            return 0.0
        pairs = [(found.meant, expected.meant)]
        if found.written == found.meant or expected.written == expected.meant:
            pairs.append((found.written, expected.written))
        return float(any(self._are_equal(*pair) for pair in pairs))

    def _are_equal(self, found: float, expected: float) -> bool:
        return abs(found - expected) <= self._tolerance * max(1.0, abs(expected))


def last_number(text: str) -> Number | None:
    """The number of a text, as :class:`NumberGrader` says; None where there is none."""
    text = _written_plainly(text)
    boxed = re.findall(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}", text)
    for part in (*boxed[-1:], *text.split("####")[1:][-1:], text):
        for pattern in (_ALONE, _ATTACHED):
            if found := list(_numbers(pattern, part)):
                return found[-1]
    return None


def _written_plainly(text: str) -> str:
    """The text with its many ways to write digits, signs, fractions and powers made one."""
    text = re.sub(r"\d", lambda found: str(int(found[0])), text.translate(_SIGNS))
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    for letter, fraction in _VULGAR.items():
        text = text.replace(letter, f" {fraction}")
    return re.sub(r"(?<=\w)[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda found: "^" + found[0].translate(_RAISED), text)


def _numbers(pattern: re.Pattern[str], text: str) -> Iterator[Number]:
    for found in pattern.finditer(text):
        written = _value(found)
        if _MINUS.search(text[max(0, found.start() - 8) : found.start()]):
            written = -written
        mark = _MARK.match(text, found.end())
        scale = 1.0 if mark is None else 0.01 if mark["percent"] else _SCALES[mark["scale"].lower()]
        yield Number(written, written * scale)


def _value(found: re.Match[str]) -> float:
    if found["top"] is not None:
        bottom = _decimal(found["bottom"])
        units = float(found["units"] or 0)
        return units + _decimal(found["top"]) / bottom if bottom else math.nan
    value, exponent = _decimal(found["plain"]), found["ten"] or found["e"]
    try:
        if found["to"]:
            return float(value ** int(found["to"]))
        return value * 10.0 ** int(exponent) if exponent else value
    except (OverflowError, ZeroDivisionError, ValueError):
        return math.inf


def _decimal(text: str) -> float:
    """The value of digits with separators; the last of , and . parts off decimals unless it parts thousands."""
    digits = re.sub(r"[ '_]", "", text)
    if "." in digits and "," in digits:
        thousands = "," if digits.rfind(".") > digits.rfind(",") else "."
        return float(digits.replace(thousands, "").replace(",", "."))
    if digits.count(".") > 1 or re.fullmatch(r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}", digits):
        return float(re.sub("[.,]", "", digits))
    return float(digits.replace(",", "."))
