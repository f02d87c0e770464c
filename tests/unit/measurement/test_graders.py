import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.errors import ConfigError
from unirouter_torch.measurement.grader import Grader, UngradedError, built_in_graders, checked_score, find_grader
from unirouter_torch.measurement.graders.number import NumberGrader


def grade(name: str, answer: str, reference: str) -> float:
    return find_grader(name).grade("", answer, reference)


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
        ("choice", "Both A and B", "B", 0),
        ("choice", "_B_", "B", 1),
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
    assert grade(grader, answer, reference) == score


@pytest.mark.parametrize(
    ("grader", "reference"),
    [("number", "none"), ("choice", "nothing"), ("regex", "("), ("json", "[1]"), ("json", "{}")],
)
def test_reference_that_says_nothing_leaves_the_prompt_ungraded(grader: str, reference: str) -> None:
    with pytest.raises(UngradedError, match="reference"):
        grade(grader, "an answer", reference)


def test_tolerance_is_relative_above_one() -> None:
    grader = NumberGrader(tolerance=0.01)
    scores = [grader.grade("", *pair) for pair in (("101", "100"), ("101.1", "100"), ("0.105", "0.1"), ("0.12", "0.1"))]
    assert scores == [1, 0, 1, 0]


@given(st.text(), st.text())
def test_no_answer_breaks_a_grader(answer: str, reference: str) -> None:
    for name in built_in_graders():
        with contextlib.suppress(UngradedError):
            assert 0 <= grade(name, answer, reference) <= 1


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.none(), min_size=1, max_size=4))
def test_every_object_equals_itself(value: dict[str, object]) -> None:
    assert grade("json", f"Here: {json.dumps(value)}!", json.dumps(value)) == 1


def half(prompt: str, answer: str, reference: str) -> float:
    return 0.5


class Longer(Grader):
    """1 if the answer is longer than the prompt."""

    name = "longer"
    needs_reference = False

    def grade(self, prompt: str, answer: str, reference: str) -> float:
        return float(len(answer) > len(prompt))


def test_functions_and_classes_of_others_are_graders() -> None:
    assert find_grader(f"{__name__}:Longer").grade("ab", "abc", "") == 1
    function = find_grader(f"{__name__}:half")
    assert function.grade("a", "b", "c") == 0.5 and not function.needs_reference
    for name in ("nowhere:f", "operator:nothing", "exactly", "math:pi", "builtins:dict"):
        with pytest.raises(ConfigError, match="grader"):
            find_grader(name)


@pytest.mark.parametrize(
    "answer",
    [
        "c",
        "(c)",
        "Ｃ",
        "answer: c",
        "My answer is c.",
        "C - Lisbon",
        "C: Lisbon",
        "c) Lisbon",
        "I think it is C.",
        "It must be C, since A and B are taken.",
        "I'd go with C",
        "I would pick (C).",
        "C is correct.",
        "Not A. Not B. So the answer is C",
        "Lisbon (C)",
        "Correct: C",
        r"Hence $\boxed{\mathrm{C}}$.",
        r"\boxed{\text{(C)}}",
        "The answer is:\n\n**C) Lisbon**",
        "Respuesta: C",
        "La respuesta correcta es la C.",
        "Réponse : C",
        "Die richtige Antwort ist C",
        "A resposta correta é a C.",
        "Ответ: C",
        "答案：C",
        "答案是C",
        "选C",
        "正解はCです。",
        "정답은 C입니다.",
        "الإجابة: C",
        "Jawaban: C",
    ],
)
def test_letter_is_found_however_it_is_said(answer: str) -> None:
    assert grade("choice", answer, "C") == 1
    assert grade("choice", answer, "B") == grade("choice", answer, "A") == 0


@pytest.mark.parametrize("answer", ["The answer is B or C", "Answer: B, C", "It is not C.", "C is wrong", "", "Lisbon"])
def test_two_letters_or_one_that_is_denied_are_no_choice(answer: str) -> None:
    assert grade("choice", answer, "C") == 0


@pytest.mark.parametrize(
    "answer", ["“Río”", "«río»", "「Río」", "Río。", "‘río’!", "‹Río›", "Rí\u200bo", "¡Río!", "*Río*…"]
)
def test_quotes_and_punctuation_of_any_writing_around_an_answer_do_not_matter(answer: str) -> None:
    assert grade("exact", answer, "Río") == 1


def test_marks_that_are_the_answer_are_kept() -> None:
    assert grade("exact", "it’s", "it's") == 1
    assert [grade("exact", *pair) for pair in (("?", "!"), ("-5", "5"), ("50%", "50"), ("C#", "C"))] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("3/4", "0.75"),
        (r"\frac{3}{4}", "3/4"),
        ("1 1/2 cups", "1.5"),
        ("2½", "2.5"),
        ("12,345,678.5", "12345678.5"),
        ("1 234 567", "1234567"),
        ("1\u202f234,5", "1234.5"),
        ("1.234.567,5", "1234567.5"),
        ("1'234'567", "1234567"),
        ("0,25", "0.25"),
        (r"1{,}234", "1234"),
        ("45%", "0.45"),
        ("45 %", "45"),
        ("45", "45%"),
        ("0.45", "45 percent"),
        ("$1,200.", "1200"),
        ("12 kg", "12"),
        ("5 m²", "5"),
        ("the gas is H2O at 44 degrees", "44"),
        ("3 x 10^4", "30000"),
        ("3 × 10⁴", "30000"),
        ("1.5 million", "1500000"),
        ("1.5 million", "1.5"),
        ("10-12", "12"),
        ("–7", "-7"),
        ("４２", "42"),
        (r"\boxed{42} as in equation 3", "42"),
        ("#### 42\nChecked 2 times.", "2"),
    ],
)
def test_number_is_read_however_it_is_written(answer: str, reference: str) -> None:
    assert grade("number", answer, reference) == 1


@pytest.mark.parametrize(
    ("answer", "reference"),
    [("4", "3/4"), ("3/5", "3/4"), ("234", "1 234"), ("0.45%", "45%"), ("12", "-12"), ("1/0", "0"), ("3,5", "5")],
)
def test_other_number_is_wrong_however_it_is_written(answer: str, reference: str) -> None:
    assert grade("number", answer, reference) == 0


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), "1", None])
def test_what_is_no_score_is_refused(score: object) -> None:
    with pytest.raises(UngradedError):
        checked_score(score)
    assert checked_score(True) == 1.0
