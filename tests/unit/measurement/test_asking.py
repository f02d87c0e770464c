"""Against a real server on loopback that misbehaves."""

import json
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving_endpoint import ANSWER_TOKENS, KEY, PROMPT_TOKENS, Endpoint, Run, endpoint_on_loopback, questions

from unirouter_torch.errors import ConfigError, EndpointError
from unirouter_torch.measurement.budget import Prices
from unirouter_torch.measurement.endpoint import KEY_VARIABLE
from unirouter_torch.measurement.endpoint import Endpoint as Terms
from unirouter_torch.measurement.pace import Pace
from unirouter_torch.measurement.plan import CalibrationPlan, run_plan

DOLLARS = (PROMPT_TOKENS * 1000 + ANSWER_TOKENS * 2000) / 1e6
RETRIED = ["429", "500", "503", "broken_json", "no_choice", "reset"]


def lines(plan: CalibrationPlan) -> list[dict[str, Any]]:
    return [json.loads(line) for line in plan.journal.read_text().splitlines()]


def test_answers_are_graded_and_their_tokens_and_dollars_recorded(server: Endpoint, run: Run) -> None:
    found = run([*questions("a", "b"), questions("c")[0]._replace(reference="something else")])
    assert found.scores == {"id a": 1.0, "id b": 1.0, "id c": 0.0}
    assert {a[2:5] for a in found.answers.values()} == {(PROMPT_TOKENS, ANSWER_TOKENS, DOLLARS)}
    assert all(answer.seconds and answer.seconds > 0 for answer in found.answers.values())
    assert found.mean_dollars == DOLLARS
    assert server.requests[0]["max_tokens"] == 20 and server.requests[0]["model"] == "m"


def test_journal_of_before_calls_were_timed_still_serves(server: Endpoint, run: Run, plan: CalibrationPlan) -> None:
    run(questions("a"))
    entries = lines(plan)
    del entries[-1]["answer"]["seconds"]
    plan.journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    found = run(questions("a"))
    assert found.scores == {"id a": 1.0} and found.median_seconds is None
    assert len(server.requests) == 1


@pytest.mark.parametrize("behaviour", RETRIED)
def test_call_that_fails_is_tried_again(server: Endpoint, run: Run, behaviour: str) -> None:
    server.plan = {"a": [behaviour, behaviour]}
    assert run(questions("a", "b")).scores == {"id a": 1.0, "id b": 1.0}
    assert server.asked == {"a": 3, "b": 1}


@pytest.mark.parametrize("behaviour", RETRIED)
def test_prompt_that_fails_every_time_is_left_out_with_its_reason(server: Endpoint, run: Run, behaviour: str) -> None:
    server.plan = {"a": [behaviour] * 3}
    found = run(questions("a", "b"))
    assert list(found.scores) == ["id b"]
    reasons = {"broken_json": "broken JSON", "no_choice": "no choice in the response", "reset": "connection lost"}
    assert found.left_out == {"id a": reasons.get(behaviour, f"status {behaviour}")}
    assert server.asked["a"] == 3


@pytest.mark.parametrize("behaviour", ["silence", "slow_body"])
def test_call_that_takes_too_long_is_given_up_even_while_bytes_arrive(
    server: Endpoint, run: Run, behaviour: str
) -> None:
    server.plan = {"a": [behaviour]}
    assert run(questions("a"), timeout_seconds=2.0).scores == {"id a": 1.0}
    assert server.asked["a"] == 2


@pytest.mark.parametrize("retry_after", ["0.4", lambda: formatdate(time() + 2, usegmt=True)])
def test_every_call_waits_as_long_as_the_endpoint_asks(server: Endpoint, run: Run, retry_after: object) -> None:
    asked = retry_after() if callable(retry_after) else retry_after
    server.plan = {"a": [f"429:{asked}"]}
    run(questions("a", "b"), concurrency=1)
    assert server.times[1] - server.times[0] >= 0.35
    assert server.asked == {"a": 2, "b": 1}


def test_endpoint_that_asks_for_an_hour_is_not_waited_for(server: Endpoint, run: Run) -> None:
    server.plan = {"a": ["429:3600"]}
    assert run(questions("a", "b")).left_out == {"id a": "asked to wait 3600 seconds"}


def test_filtered_prompts_are_left_out_and_not_asked_again(server: Endpoint, run: Run) -> None:
    server.plan = {"a": ["content_filter"], "b": ["filtered"]}
    assert run(questions("a", "b", "c")).left_out == {"id a": "content filter", "id b": "content filter"}
    assert server.asked == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize("behaviour", ["401", "402", "404", "empty_account"])
def test_what_no_call_can_get_past_ends_the_run(server: Endpoint, run: Run, behaviour: str) -> None:
    server.default = behaviour
    with pytest.raises(EndpointError, match="Check base_url"):
        run(questions(*"abcdefgh"), concurrency=1)
    assert len(server.requests) == 1


def test_nobody_listening_costs_nothing(run: Run, plan: CalibrationPlan) -> None:
    nowhere = replace(plan.endpoint, base_url="http://127.0.0.1:9/v1")
    assert run(questions("a"), endpoint=nowhere).left_out == {"id a": "no connection"}
    assert all(line["dollars"] == 0 for line in lines(plan) if "failed" in line)


def test_endpoint_that_answers_nothing_ends_the_run_before_all_prompts_are_tried(
    run: Run, plan: CalibrationPlan
) -> None:
    nowhere = replace(plan.endpoint, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(EndpointError, match=r"none of the first 10 prompts was answered \(no connection\)"):
        run(questions(*(f"q{number}" for number in range(40))), endpoint=nowhere)
    failed = [line for line in lines(plan) if "failed" in line]
    assert 10 * (plan.pace.retries + 1) <= len(failed) < 20 * (plan.pace.retries + 1)


def test_newer_name_of_the_limit_is_used_where_the_older_is_refused(server: Endpoint, run: Run) -> None:
    server.default = "newer_name_only"
    assert len(run(questions("a", "b"), concurrency=1).scores) == 2
    assert ["max_tokens" in request for request in server.requests] == [True, False, False]


def test_more_fields_are_sent_and_those_that_decide_the_cost_are_refused(
    server: Endpoint, run: Run, plan: CalibrationPlan
) -> None:
    run(questions("a"), endpoint=replace(plan.endpoint, extra={"temperature": 0.5}))
    assert server.requests[0]["temperature"] == 0.5
    with pytest.raises(ConfigError, match="'n'"):
        replace(plan.endpoint, extra={"n": 2})


def test_second_run_asks_only_what_has_no_answer(server: Endpoint, run: Run, plan: CalibrationPlan) -> None:
    server.plan = {"a": ["500"] * 3}
    run(questions("a", "b", "c"))
    assert run(questions("a", "b", "c")).scores.keys() == {"id a", "id b", "id c"}
    assert server.asked == {"a": 4, "b": 1, "c": 1}
    run(questions("b"), endpoint=replace(plan.endpoint, max_tokens=30))
    assert server.asked["b"] == 2, "another limit is another question"


def test_key_is_sent_and_never_written(server: Endpoint, run: Run, plan: CalibrationPlan) -> None:
    server.plan = {"a": ["key_in_error"]}
    run(questions("a", "b"))
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert KEY not in plan.journal.read_text() and "***" in plan.journal.read_text()


def test_missing_key_ends_the_run_before_a_call(server: Endpoint, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(EndpointError, match=KEY_VARIABLE):
        run(questions("a"))
    assert not server.requests


def test_no_more_calls_are_on_their_way_than_asked_for(server: Endpoint, run: Run) -> None:
    run(questions(*"abcdefghij"), concurrency=3)
    assert 1 <= server.most_at_once <= 3


def test_endpoint_that_ignores_the_limit_of_an_answer_ends_the_run(
    server: Endpoint, run: Run, plan: CalibrationPlan
) -> None:
    server.default = "greedy"
    with pytest.raises(EndpointError, match="100000 for the answer"):
        run(questions(*"abcdef"), concurrency=1)
    assert len(server.requests) == 1 and "answer" in lines(plan)[-1]


def test_answer_without_token_counts_costs_its_worst_case(server: Endpoint, run: Run, plan: CalibrationPlan) -> None:
    server.default = "no_usage"
    found = run(questions("a"))
    assert found.mean_dollars == plan.endpoint.worst_case("a")[1]


@settings(max_examples=8)
@given(
    budget=st.floats(0, 2),
    price_in=st.floats(0, 3000),
    price_out=st.floats(0, 9000),
    plan=st.lists(st.lists(st.sampled_from(["ok", *RETRIED]), max_size=3), min_size=6, max_size=6),
)
def test_budget_is_never_exceeded(
    tmp_path_factory: pytest.TempPathFactory, budget: float, price_in: float, price_out: float, plan: list[list[str]]
) -> None:
    prices = Prices(price_in=price_in, price_out=price_out)
    journal = Path(tmp_path_factory.mktemp("budget")) / "journal.jsonl"
    with endpoint_on_loopback() as server:
        server.plan = {f"p{number}": list(behaviours) for number, behaviours in enumerate(plan)}
        asked = questions(*server.plan)
        for _ in range(2):
            run_plan(
                asked,
                CalibrationPlan(
                    endpoint=Terms(base_url=server.url, model="m", prices=prices, max_tokens=ANSWER_TOKENS),
                    grader="exact",
                    journal=journal,
                    budget=budget,
                    pace=Pace(concurrency=3, timeout_seconds=5.0, retries=1, backoff_seconds=0.001),
                ),
            )
        billed = server.billed.total() * prices.dollars(PROMPT_TOKENS, ANSWER_TOKENS)
    assert billed <= budget * (1 + 1e-9)


MODERATED = {"b": ["moderated"], "d": ["403"], "f": ["400"]}


def test_refusals_of_single_prompts_leave_these_out_and_are_counted(server: Endpoint, run: Run) -> None:
    server.plan = {prompt: list(behaviours) for prompt, behaviours in MODERATED.items()}
    found = run(questions(*"abcdefg"), concurrency=1)
    assert found.scores.keys() == {"id a", "id c", "id e", "id g"}
    assert found.left_out == {
        "id b": "content filter",
        "id d": "refused: status 403",
        "id f": "refused: status 400",
    }
    assert server.asked["b"] == server.asked["d"] == server.asked["f"] == 1


def test_a_refusal_of_the_first_prompt_does_not_end_the_run(server: Endpoint, run: Run) -> None:
    server.plan = {"a": ["403"]}
    assert len(run(questions(*"abc"), concurrency=1).scores) == 2


@pytest.mark.parametrize("behaviour", ["403", "400", "page"])
def test_refusals_of_all_prompts_end_the_run_after_ten_and_cost_nothing(
    server: Endpoint, run: Run, plan: CalibrationPlan, behaviour: str
) -> None:
    server.default = behaviour
    with pytest.raises(EndpointError, match="10 prompts in a row were refused"):
        run(questions(*(f"q{number}" for number in range(40))), concurrency=1)
    assert len(server.requests) == 10
    assert all(line["dollars"] == 0 for line in lines(plan) if "failed" in line)


@pytest.mark.parametrize("behaviour", ["402", "401", "unknown_model", "no_balance", "402_in_body"])
def test_account_that_fails_half_way_ends_the_run_and_keeps_what_was_answered(
    server: Endpoint, run: Run, behaviour: str
) -> None:
    server.plan = {"d": [behaviour]}
    with pytest.raises(EndpointError, match=r"Check .* the account, then give the same command again"):
        run(questions(*"abcdefgh"), concurrency=1)
    assert len(server.requests) == 4
    assert len(run(questions(*"abcdefgh"), concurrency=1).scores) == 8
    assert max(server.billed.values()) == 1


@pytest.mark.parametrize("behaviour", ["parts", "surrogate", "streamed", "float_counts"])
def test_answers_come_in_many_shapes(server: Endpoint, run: Run, plan: CalibrationPlan, behaviour: str) -> None:
    server.default = behaviour
    found = run(questions("a"), grader="regex")
    assert found.scores == {"id a": 1.0}
    assert run(questions("a"), grader="regex").answers == found.answers, "the journal holds the same"
    assert len(server.requests) == 1
    if behaviour != "streamed":
        assert found.mean_dollars == DOLLARS


def test_reasoning_that_is_billed_in_the_total_alone_counts(server: Endpoint, run: Run) -> None:
    server.default = "hidden_reasoning"
    (answer,) = run(questions("a")).answers.values()
    assert answer.answer_tokens == ANSWER_TOKENS + 3


def test_reasoning_is_taken_off_before_grading_and_what_was_cut_off_is_counted(server: Endpoint, run: Run) -> None:
    answers = {"a": "<think>echo: a?</think>\necho: a", "b": "<think>echo: b", "c": ""}
    server.answer = answers.__getitem__
    found = run(questions("a", "b", "c"))
    assert found.scores == {"id a": 1.0, "id b": 0.0, "id c": 0.0}
    assert found.unfinished == {"id b", "id c"}


@pytest.mark.parametrize("key", ["  sk-x\r\n", "sk-x\n"])
def test_white_space_around_the_key_is_no_part_of_it(
    server: Endpoint, run: Run, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    run(questions("a"))
    assert server.keys == ["Bearer sk-x"]


@pytest.mark.parametrize("key", ["sk-\u200bx", "sk-é", "sk x", "sk\nx", " \n"])
def test_key_that_cannot_be_sent_is_named_before_a_call(
    server: Endpoint, run: Run, plan: CalibrationPlan, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(EndpointError, match=KEY_VARIABLE):
        run(questions("a"))
    assert not server.requests and not plan.journal.read_text()


@pytest.mark.parametrize("url", ["127.0.0.1:8000/v1", "localhost/v1", "http:///v1", "ftp://a/v1", "http://a b/v1", ""])
def test_address_to_which_nothing_can_be_sent_is_refused(plan: CalibrationPlan, url: str) -> None:
    with pytest.raises(ConfigError, match="base_url: got"):
        replace(plan.endpoint, base_url=url)
