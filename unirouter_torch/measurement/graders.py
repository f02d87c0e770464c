"""From an answer and its reference to a score in [0, 1]."""

import importlib
import json
import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any, TypeAlias

from unirouter_torch.errors import ConfigError

Grader: TypeAlias = Callable[[str, str], float]
"""A score in [0, 1] from an answer and its reference; raises UngradedError where it cannot tell."""

PythonGrader: TypeAlias = Callable[[str, str, str], float]
"""The same of a user, from prompt, answer and reference."""

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+(?:[eE][-+]?\d+)?")
_LETTER_SAID = re.compile(
    r"(?i:answer|choice|option)\s*(?i:is)?\W{0,12}(?!I\s+[a-z])([A-Z])\b|\\boxed\{\W*(?:\\text\{)?\W*([A-Z])\b"
)
_LETTER_FIRST = re.compile(r"\A\W*([A-Za-z])\W*(?:\Z|[).:]\s)")
_LETTER_IN_BRACKETS = re.compile(r"\(([A-Za-z])\)")
_LETTER_OF_LAST_LINE = re.compile(r"^\W*([A-Z])\W*$", re.MULTILINE)


class UngradedError(Exception):
    """An answer that cannot be graded, with the reason; its prompt is left out."""


def grade_exact(answer: str, reference: str) -> float:
    """1 if the two are the same text, but for case, spaces, and punctuation or quotes around it."""
    return float(_normalised(answer) == _normalised(reference))


def grade_number(answer: str, reference: str, *, tolerance: float = 1e-6) -> float:
    """1 if the last number in the answer is the last number in the reference.

    Args:
        answer: Any text.
        reference: Text with a number.
        tolerance: Difference that counts as none, relative to the reference where that is above 1, at least 0.

    Raises:
        UngradedError: The reference has no number.
    """
    expected, found = _last_number(reference), _last_number(answer)
    if expected is None:
        raise UngradedError("no number in the reference")
    return float(found is not None and abs(found - expected) <= tolerance * max(1.0, abs(expected)))


def grade_choice(answer: str, reference: str) -> float:
    r"""1 if the letter that the answer chooses is that of the reference.

    It is the last letter named as the answer (``the answer is (C)``, ``Answer: C``, ``\boxed{C}``), else the one that
    begins the answer (``B``, ``(b)``, ``B. because``), else the last one alone on a line or in brackets.

    Raises:
        UngradedError: The reference names no letter.
    """
    expected = _chosen_letter(reference)
    if expected is None:
        raise UngradedError("no letter in the reference")
    return float(_chosen_letter(answer) == expected)


def grade_pattern(answer: str, reference: str) -> float:
    """1 if the reference, a regular expression, is found anywhere in the answer; ``^`` and ``$`` match at lines.

    Raises:
        UngradedError: The reference is no regular expression.
    """
    try:
        return float(re.search(reference, answer, re.MULTILINE) is not None)
    except re.error:
        raise UngradedError("the reference is no regular expression") from None


def grade_json(answer: str, reference: str) -> float:
    """Share of the fields of the reference, a JSON object, that the answer's JSON object has with an equal value.

    The object is the last one in the answer, whatever text stands around it. Numbers are equal by value, texts as in
    ``exact``, lists and objects member by member; other fields of the answer do not matter.

    Raises:
        UngradedError: The reference is no JSON object with a field.
    """
    expected = _last_object(reference)
    if not expected:
        raise UngradedError("the reference is no JSON object")
    found = _last_object(answer) or {}
    return sum(name in found and _equal(found[name], value) for name, value in expected.items()) / len(expected)


GRADERS: dict[str, Grader] = {
    "exact": grade_exact,
    "number": grade_number,
    "choice": grade_choice,
    "regex": grade_pattern,
    "json": grade_json,
}
"""The graders that need nothing but a reference, by name."""


def load_python_grader(name: str) -> PythonGrader:
    """The function ``module:function``; its module is imported, which runs it.

    Raises:
        ConfigError: There is no such module or function.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"--grader: cannot load {name!r} ({error}). Give one of {', '.join(GRADERS)}, judge, or module:function of "
            "a module that Python finds here."
        ) from None
    if not callable(found):
        raise ConfigError(f"--grader: {name!r} is no function. Name one that takes prompt, answer and reference.")
    grader: PythonGrader = found
    return grader


def checked_score(score: object) -> float:
    """A score as a number in [0, 1].

    Raises:
        UngradedError: It is none.
    """
    if isinstance(score, bool | int | float) and 0 <= score <= 1:
        return float(score)
    raise UngradedError(f"the grader gave {score!r:.40}, expected a number in [0, 1]")


def _normalised(text: str) -> str:
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words.strip(" .,;:!?\"'`*_()[]{}")


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(text.replace("\N{MINUS SIGN}", "-"))
    return float(found[-1].replace(",", "")) if found else None


def _chosen_letter(text: str) -> str | None:
    for pattern in (_LETTER_SAID, _LETTER_FIRST, _LETTER_OF_LAST_LINE, _LETTER_IN_BRACKETS):
        if matches := list(pattern.finditer(text)):
            return next(letter for letter in matches[-1].groups() if letter).upper()
    return None


def _last_object(text: str) -> dict[str, Any] | None:
    """The last JSON object that is no part of another one."""
    decoder, found, at = json.JSONDecoder(), None, text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found = value
        at = text.find("{", end)
    return found


def _equal(found: Any, expected: Any) -> bool:
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, int | float) and isinstance(expected, int | float):
        return math.isclose(found, expected, rel_tol=1e-9)
    if isinstance(found, str) and isinstance(expected, str):
        return _normalised(found) == _normalised(expected)
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_equal, found, expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_equal(found[name], expected[name]) for name in found)
    return found is None and expected is None
