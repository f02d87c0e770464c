"""How many fields of a JSON object an answer has."""

import json
import math
from collections.abc import Iterator
from typing import Any

from unirouter_torch.measurement.grader import Grader, UngradedError, plain_text


class JSONGrader(Grader):
    """Share of the fields of the reference, a JSON object, that the answer's JSON object has with an equal value.

    The object is the last one in the answer, whatever text is around it. Numbers are equal by value, texts as in
    ``exact``, lists and objects member by member; other fields of the answer do not matter.
    """

    name = "json"

    def grade(self, prompt: str, answer: str, reference: str) -> float:
        """Between 0 and 1.

        Raises:
            UngradedError: The reference is no JSON object with a field.
        """
        expected = _last(reference)
        if not expected:
            raise UngradedError("the reference is no JSON object")
        found = _last(answer)
        return sum(name in found and _equal(found[name], value) for name, value in expected.items()) / len(expected)


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text that are no part of another one, in their order."""
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            yield value
        at = text.find("{", end)


def _last(text: str) -> dict[str, Any]:
    return next(reversed(list(json_objects(text))), {})


def _equal(found: Any, expected: Any) -> bool:
    if isinstance(found, bool) or isinstance(expected, bool):
        return found is expected
    if isinstance(found, int | float) and isinstance(expected, int | float):
        return _close(found, expected)
    if isinstance(found, str) and isinstance(expected, str):
        return plain_text(found) == plain_text(expected)
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(_equal, found, expected))
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_equal(found[name], expected[name]) for name in found)
    return found is None and expected is None


def _close(found: int | float, expected: int | float) -> bool:
    try:
        return math.isclose(found, expected, rel_tol=1e-9)
    except OverflowError:  # an integer of hundreds of digits
        return found == expected
