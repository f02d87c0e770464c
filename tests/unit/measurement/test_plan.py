import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from misbehaving_endpoint import ANSWER_TOKENS, KEY, PROMPT_TOKENS, Endpoint, Run, questions

from unirouter_torch.errors import ConfigError, EndpointError
from unirouter_torch.measurement.budget import Prices
from unirouter_torch.measurement.endpoint import JUDGE_KEY_VARIABLE
from unirouter_torch.measurement.journal import Journal
from unirouter_torch.measurement.plan import CalibrationPlan, Judge, worst_case

PROGRAM = """
import sys
from pathlib import Path
from unirouter_torch.measurement.budget import Prices
from unirouter_torch.measurement.endpoint import Endpoint
from unirouter_torch.measurement.measure import Question
from unirouter_torch.measurement.pace import Pace
from unirouter_torch.measurement.plan import CalibrationPlan, run_plan

prices = Prices(price_in=1000.0, price_out=2000.0)
endpoint = Endpoint(base_url=sys.argv[1], model="m", prices=prices, max_tokens=20)
plan = CalibrationPlan(endpoint=endpoint, grader="exact", journal=Path(sys.argv[2]), pace=Pace(concurrency=2))
run_plan([Question(f"id p{number}", f"p{number}", f"echo: p{number}") for number in range(10)], plan)
"""


def until(is_so: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_kill_in_the_middle_loses_no_answer_and_pays_for_none_twice(
    server: Endpoint, run: Run, plan: CalibrationPlan
) -> None:
    def hold_after_four(message: str) -> str:
        if sum(server.billed.values()) >= 4:
            server.hold.clear()
        return f"echo: {message}"

    server.answer = hold_after_four
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, server.url, str(plan.journal)])
    try:
        until(lambda: not server.hold.is_set() and server.at_once == 2)
        time.sleep(0.2)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    before = dict(server.billed)
    waiting = [message for message in server.asked if message not in before]
    with Journal(plan.journal) as journal:
        dollars = Prices(price_in=1000.0, price_out=2000.0).dollars(PROMPT_TOKENS, ANSWER_TOKENS)
        on_their_way = sum(plan.endpoint.worst_case(message)[1] for message in waiting)
        assert journal.dollars == pytest.approx(len(before) * dollars + on_their_way)
    server.answer = lambda message: f"echo: {message}"
    server.hold.set()
    until(lambda: server.at_once == 0)
    found = run(questions(*(f"p{number}" for number in range(10))))
    assert len(found.scores) == 10
    assert all(server.asked[message] == 1 for message in before)
    assert all(count == 2 for message, count in server.asked.items() if message in waiting)


def test_judge_grades_within_the_same_budget(server: Endpoint, run: Run, plan: CalibrationPlan) -> None:
    server.answer = lambda message: f"echo: {message}" if len(message) < 5 else '{"score": 0.3}'
    judge = Judge(endpoint=replace(plan.endpoint, model="judge"), rubric="be kind")
    found = run(questions("a", "b"), grader="judge", judge=judge)
    assert found.scores == {"id a": 0.3, "id b": 0.3}
    asked = [request["messages"][0]["content"] for request in server.requests if request["model"] == "judge"]
    assert len(asked) == 2 and all("be kind" in message and "echo: " in message for message in asked)
    with Journal(plan.journal) as journal:
        assert journal.dollars == pytest.approx(4 * 0.02)
    run(questions("a", "b"), grader="judge", judge=judge)
    assert len(server.requests) == 4


def test_judge_without_a_score_leaves_the_prompt_out(server: Endpoint, run: Run, plan: CalibrationPlan) -> None:
    server.answer = lambda message: f"echo: {message}" if len(message) < 5 else "All right."
    judge = Judge(endpoint=replace(plan.endpoint, model="judge"))
    found = run(questions("a"), grader="judge", judge=judge)
    assert found.left_out == {"id a": "the judge's reply has no score in [0, 1]"}


def test_key_of_the_llm_is_not_shown_to_a_judge_elsewhere(
    server: Endpoint, run: Run, plan: CalibrationPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Judge(endpoint=replace(plan.endpoint, base_url=server.url.replace("127.0.0.1", "localhost")))
    with pytest.raises(EndpointError, match=JUDGE_KEY_VARIABLE):
        run(questions("a"), grader="judge", judge=elsewhere)
    assert not server.requests
    monkeypatch.setenv(JUDGE_KEY_VARIABLE, "judges-own")
    server.answer = lambda _: '{"score": 1}'
    run(questions("a"), grader="judge", judge=elsewhere)
    assert server.keys == [f"Bearer {KEY}", "Bearer judges-own"]


def test_worst_case_is_the_sum_over_the_prompts(plan: CalibrationPlan) -> None:
    one, other = plan.endpoint.worst_case("a")[1], plan.endpoint.worst_case("bcd")[1]
    assert worst_case(questions("a", "bcd"), plan) == pytest.approx(one + other)
    assert other - one == pytest.approx(2 * 1000 / 1e6)


@pytest.mark.parametrize(
    "change",
    [{"grader": "unknown"}, {"grader": "judge"}, {"until_half_width": 0.0}, {"budget": -1.0}, {"tolerance": -1.0}],
)
def test_plan_that_cannot_be_carried_out_is_refused(plan: CalibrationPlan, run: Run, change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        run(questions("a"), **change)


@pytest.mark.parametrize("verdict", ["Fine.", "<think>It agrees", '{"grade": 1}', ""])
def test_judge_that_never_gives_a_score_ends_the_run_after_ten_replies(
    server: Endpoint, run: Run, plan: CalibrationPlan, verdict: str
) -> None:
    server.answer = lambda message: f"echo: {message}" if len(message) < 5 else verdict
    judge = Judge(endpoint=replace(plan.endpoint, model="judge"))
    with pytest.raises(EndpointError, match="the judge gave 10 replies in a row without a score"):
        run(questions(*(f"q{number}" for number in range(40))), grader="judge", judge=judge, concurrency=1)
    assert len(server.requests) == 20


def test_judge_that_thinks_and_explains_is_understood(server: Endpoint, run: Run, plan: CalibrationPlan) -> None:
    verdict = '<think>Is {"score": 0} fair?</think>Both agree.\n```json\n{"score": 0.5, "reason": "same"}\n```'
    server.answer = lambda message: f"<think>x</think>echo: {message}" if len(message) < 5 else verdict
    judge = Judge(endpoint=replace(plan.endpoint, model="judge"))
    assert run(questions("a"), grader="judge", judge=judge).scores == {"id a": 0.5}
    assert "<think>" not in server.requests[-1]["messages"][0]["content"]
