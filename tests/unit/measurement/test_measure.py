from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from misbehaving_endpoint import Endpoint, Run, questions
from scipy.stats import binomtest

from unirouter_torch.errors import MeasurementError
from unirouter_torch.measurement.asking import Answer
from unirouter_torch.measurement.measure import Measurement, in_random_order, is_certain, wilson_interval


@given(st.lists(st.booleans(), min_size=1))
def test_interval_of_right_or_wrong_errors_is_wilsons(wrong: list[bool]) -> None:
    mean, low, high = wilson_interval([float(error) for error in wrong])
    expected = binomtest(sum(wrong), len(wrong)).proportion_ci(method="wilson")
    assert (mean, low, high) == pytest.approx((sum(wrong) / len(wrong), expected.low, expected.high), abs=1e-6)


def test_nothing_is_known_without_scores() -> None:
    assert wilson_interval([]) == (0.5, 0.0, 1.0)
    assert Measurement().error == (0.5, 0.0, 1.0) and Measurement().mean_dollars == 0.0


def test_latency_is_the_median_of_the_calls_whose_time_is_known() -> None:
    times = [None, 9.0, 1.0, 2.0]
    answers = {str(row): Answer("", "stop", 1, 1, 0.0, seconds) for row, seconds in enumerate(times)}
    assert Measurement(answers=answers).median_seconds == 2.0
    assert Measurement(answers={"0": answers["0"]}).median_seconds is None


def test_certainty_needs_a_narrow_interval() -> None:
    scores = [1.0, 0.0] * 50
    _, low, high = wilson_interval(scores)
    assert is_certain(scores, (high - low) / 2) and not is_certain(scores, (high - low) / 2 - 1e-9)
    assert not is_certain(scores, None)


def test_order_depends_on_the_ids_alone_and_mixes_them() -> None:
    asked = questions(*(f"{number:03d}" for number in range(100)))
    order = in_random_order(asked)
    assert order == in_random_order(asked[::-1]) and sorted(order) == asked
    assert 20 < sum(question in asked[:50] for question in order[:50]) < 30


@pytest.mark.parametrize(("graded", "left_out", "enough"), [(5, 5, True), (4, 5, False), (0, 0, False), (1, 0, True)])
def test_half_of_the_prompts_must_have_a_score(graded: int, left_out: int, enough: bool) -> None:
    found = Measurement(
        scores={f"g{number}": 1.0 for number in range(graded)},
        left_out={f"l{number}": "timed out" for number in range(left_out)},
    )
    if enough:
        found.check()
    else:
        with pytest.raises(MeasurementError, match=rf"{graded} of {graded + left_out}"):
            found.check()


def test_asking_ends_once_the_interval_is_narrow_enough(server: Endpoint, run: Run) -> None:
    asked = questions(*(f"p{number}" for number in range(100)))
    found = run(asked, until_half_width=0.1, concurrency=2)
    assert is_certain(list(found.scores.values()), 0.1) and not is_certain(list(found.scores.values())[:-2], 0.1)
    assert len(found.scores) == len(server.requests) < 30


def test_budget_that_ends_early_leaves_a_fair_part_and_a_larger_one_goes_on(server: Endpoint, run: Run) -> None:
    asked = questions(*(f"p{number}" for number in range(10)))
    worst, cost = (66 * 1000 + 20 * 2000) / 1e6, 0.02
    found = run(asked, budget=worst + 3.5 * cost, concurrency=1)
    assert list(found.scores) == ["id p0", "id p1", "id p2", "id p3"]
    assert set(found.left_out.values()) == {"budget spent"} and len(found.left_out) == 6
    assert len(run(asked, budget=100.0).scores) == 10
    assert set(server.billed.values()) == {1}


def test_python_grader_sees_prompt_answer_and_reference(
    server: Endpoint, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_grader.py").write_text(
        "def grade(prompt, answer, reference):\n"
        "    if prompt == 'bad':\n        return 2\n"
        "    return {'a': 0.25, 'b': 0.75}[prompt] if answer == reference else 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = run(questions("a", "b", "c", "bad"), grader="my_grader:grade")
    assert found.scores == {"id a": 0.25, "id b": 0.75}
    assert found.left_out["id c"] == "the grader raised KeyError"
    assert found.left_out["id bad"].startswith("the grader gave 2")
