import pytest

from unirouter_torch.serving.breaker import (
    FAILURES_IN_A_ROW,
    FIRST_PAUSE_SECONDS,
    LONGEST_ASKED_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    Breaker,
)
from unirouter_torch.serving.metrics import Metrics


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(Metrics(), clock)


def fail(breaker: Breaker, llm: str, times: int = FAILURES_IN_A_ROW) -> None:
    for _ in range(times):
        breaker.asked(llm)
        breaker.failed(llm)


def test_llm_is_left_out_after_failures_in_a_row_and_no_earlier(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, "a", FAILURES_IN_A_ROW - 1)
    assert breaker.in_service(["a", "b"]) == ["a", "b"]
    fail(breaker, "a", 1)
    assert breaker.in_service(["a", "b"]) == ["b"]
    clock.now += FIRST_PAUSE_SECONDS
    assert breaker.in_service(["a", "b"]) == ["a", "b"]


def test_an_answer_in_between_starts_the_count_anew(breaker: Breaker) -> None:
    for _ in range(3):
        fail(breaker, "a", FAILURES_IN_A_ROW - 1)
        breaker.answered("a")
    assert breaker.in_service(["a", "b"]) == ["a", "b"]


def test_only_one_request_tries_it_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, "a")
    clock.now += FIRST_PAUSE_SECONDS
    breaker.asked("a")
    assert breaker.in_service(["a", "b"]) == ["b"]
    breaker.answered("a")
    assert breaker.in_service(["a", "b"]) == ["a", "b"]


def test_trial_that_never_ends_is_followed_by_another(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, "a")
    clock.now += FIRST_PAUSE_SECONDS
    breaker.asked("a")  # and its client leaves
    clock.now += FIRST_PAUSE_SECONDS
    assert breaker.in_service(["a", "b"]) == ["a", "b"]


def test_pause_doubles_with_each_failed_trial_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, "a")
    expected = FIRST_PAUSE_SECONDS
    for _ in range(8):
        clock.now += expected - 0.5
        assert breaker.in_service(["a", "b"]) == ["b"]
        clock.now += 0.5
        assert breaker.in_service(["a", "b"]) == ["a", "b"]
        fail(breaker, "a", 1)
        expected = min(2 * expected, LONGEST_PAUSE_SECONDS)


@pytest.mark.parametrize(("asked", "kept"), [(45.0, 45.0), (1e9, LONGEST_ASKED_PAUSE_SECONDS)])
def test_what_an_upstream_asks_for_is_kept_from_its_first_failure_on(
    breaker: Breaker, clock: Clock, asked: float, kept: float
) -> None:
    breaker.failed("a", asked)
    clock.now += kept - 1
    assert breaker.in_service(["a", "b"]) == ["b"]
    clock.now += 1
    assert breaker.in_service(["a", "b"]) == ["a", "b"]


def test_where_all_are_left_out_all_are_asked(breaker: Breaker) -> None:
    fail(breaker, "a")
    fail(breaker, "b")
    assert breaker.in_service(["b", "a"]) == ["b", "a"]


def test_who_is_left_out_is_told_in_the_metrics(clock: Clock) -> None:
    metrics = Metrics()
    breaker = Breaker(metrics, clock)
    fail(breaker, "a")
    assert b'unirouter_upstream_left_out{llm="a"} 1.0' in metrics.text()
    breaker.answered("a")
    assert b'unirouter_upstream_left_out{llm="a"} 0.0' in metrics.text()
