import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.errors import ConfigError
from unirouter_torch.measurement.graders import (
    GRADERS,
    UngradedError,
    checked_score,
    grade_number,
    load_python_grader,
)


@pytest.mark.parametrize(
    ("grader", "answer", "reference", "score"),
    [
        ("exact", "  Paris.\n", "paris", 1),
        ("exact", "**New   York**", "new york", 1),
        ("exact", "Paris, France", "Paris", 0),
        ("exact", "ﬁne", "fine", 1),
        ("exact", "-5", "5", 0),
        ("number", "First 3, then 1,234.50 dollars.", "1234.5", 1),
        ("number", "It is \N{MINUS SIGN}4.", "-4", 1),
        ("number", "4", "-4", 0),
        ("number", "1e3", "1000", 1),
        ("number", "Between 10 and 12", "10", 0),
        ("number", "no idea", "0", 0),
        ("number", "#### 42", "so 6 * 7 = 42", 1),
        ("choice", "B", "B", 1),
        ("choice", "(b)", "B", 1),
        ("choice", "B. It is the largest.", "B) It is the largest", 1),
        ("choice", "A) is wrong. B) too.\nThe answer is (C).", "C", 1),
        ("choice", "A) is wrong. B) too.\nThe answer is (C).", "A", 0),
        ("choice", "**Answer:** D", "D", 1),
        ("choice", r"So we get \boxed{E}", "E", 1),
        ("choice", "First I said the answer is A. No, the answer is F.", "F", 1),
        ("choice", "The answer is I think hard to tell.", "I", 0),
        ("choice", "Long thoughts.\n\nG", "G", 1),
        ("choice", "A train leaves at noon.", "A", 0),
        ("choice", "", "A", 0),
        ("regex", "Call 555-1234 now", r"\d{3}-\d{4}", 1),
        ("regex", "first\nsecond", "^second$", 1),
        ("regex", "Second", "^second$", 0),
        ("json", 'Sure: ```json\n{"city": "Lima ", "n": 2.0, "more": 1}\n```', '{"city": "lima", "n": 2}', 1),
        ("json", '{"city": "Quito", "n": 2}', '{"city": "lima", "n": 2}', 0.5),
        ("json", '{"a": {"b": [1, "x"]}}', '{"a": {"b": [1, "X"]}}', 1),
        ("json", '{"a": [1, 2]}', '{"a": [1]}', 0),
        ("json", '{"a": true}', '{"a": 1}', 0),
        ("json", '{"a": null}', '{"a": null}', 1),
        ("json", '{"a": 1} then {"a": 2}', '{"a": 2}', 1),
        ("json", "{ not json } {", '{"a": 2}', 0),
    ],
)
def test_score_of_an_answer(grader: str, answer: str, reference: str, score: float) -> None:
    assert GRADERS[grader](answer, reference) == score


@pytest.mark.parametrize(
    ("grader", "reference"),
    [("number", "none"), ("choice", "nothing"), ("regex", "("), ("json", "[1]"), ("json", "{}")],
)
def test_reference_that_says_nothing_leaves_the_prompt_ungraded(grader: str, reference: str) -> None:
    with pytest.raises(UngradedError, match="reference"):
        GRADERS[grader]("an answer", reference)


def test_tolerance_is_relative_above_one() -> None:
    assert grade_number("101", "100", tolerance=0.01) == 1 and grade_number("101.1", "100", tolerance=0.01) == 0
    assert grade_number("0.105", "0.1", tolerance=0.01) == 1 and grade_number("0.12", "0.1", tolerance=0.01) == 0


@given(st.text(), st.text())
def test_no_answer_breaks_a_grader(answer: str, reference: str) -> None:
    for grader in GRADERS.values():
        with contextlib.suppress(UngradedError):
            assert 0 <= grader(answer, reference) <= 1


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.none(), min_size=1, max_size=4))
def test_every_object_equals_itself(value: dict[str, object]) -> None:
    assert GRADERS["json"](f"Here: {json.dumps(value)}!", json.dumps(value)) == 1


def test_python_grader_is_loaded_by_name() -> None:
    assert load_python_grader("operator:add") is __import__("operator").add
    for name in ("nowhere:f", "operator:nothing", "exactly", "math:pi"):
        with pytest.raises(ConfigError, match="--grader"):
            load_python_grader(name)


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), "1", None])
def test_what_is_no_score_is_refused(score: object) -> None:
    with pytest.raises(UngradedError):
        checked_score(score)
    assert checked_score(True) == 1.0
