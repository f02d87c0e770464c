import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.errors import ConfigError
from unirouter_torch.measurement import pace as pace_module
from unirouter_torch.measurement.pace import WINDOW_SECONDS, Pace, RateLimiter, wait_before_retry

SIZES = st.lists(st.integers(1, 100), min_size=1, max_size=25)


def send_all(pace: Pace, sizes: list[int], pauses: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each call is sent, on a clock that only sleeping moves."""
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(pace_module.asyncio, "sleep", sleep)
    limiter = RateLimiter(pace, clock=lambda: now)

    async def run() -> list[float]:
        sent = []
        for number, tokens in enumerate(sizes):
            if number in pauses:
                limiter.pause(pauses[number])
            sent.append((await limiter.enter(tokens)).at)
        return sent

    return asyncio.run(run())


@given(sizes=SIZES, requests=st.integers(1, 6), tokens=st.integers(100, 300))
def test_no_minute_sees_more_than_the_limits(sizes: list[int], requests: int, tokens: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        sent = send_all(
            Pace(requests_per_minute=float(requests), tokens_per_minute=float(tokens)), sizes, {}, monkeypatch
        )
    for start in sent:
        window = [size for at, size in zip(sent, sizes, strict=True) if start <= at < start + WINDOW_SECONDS]
        assert len(window) <= requests and sum(window) <= tokens


def test_calls_are_sent_as_soon_as_the_limit_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert send_all(Pace(requests_per_minute=2.0), [1] * 5, {}, monkeypatch) == [0, 0, 60, 60, 120]
    assert send_all(Pace(tokens_per_minute=10.0), [6, 6, 4, 50, 1], {}, monkeypatch) == [0, 60, 60, 120, 180]
    assert send_all(Pace(), [1] * 5, {}, monkeypatch) == [0] * 5


def test_pause_holds_every_call_back(monkeypatch: pytest.MonkeyPatch) -> None:
    assert send_all(Pace(), [1] * 3, {1: 7.0}, monkeypatch) == [0, 7, 7]


def test_tokens_of_a_finished_call_make_room() -> None:
    limiter = RateLimiter(Pace(tokens_per_minute=10.0), clock=lambda: 0.0)
    sent = asyncio.run(limiter.enter(9))
    assert limiter.delay(5) == WINDOW_SECONDS
    sent.tokens = 3
    assert limiter.delay(5) == 0


def test_back_off_doubles_has_jitter_and_is_never_shorter_than_asked_for() -> None:
    waits = [[wait_before_retry(attempt, 1.0, 0.0) for _ in range(200)] for attempt in range(10)]
    for attempt, its in enumerate(waits):
        longest = min(2.0**attempt, 60.0)
        assert longest / 2 <= min(its) < longest * 0.6 and longest * 0.9 < max(its) <= longest
    assert wait_before_retry(0, 1.0, 30.0) == 30.0


@pytest.mark.parametrize("setting", ["concurrency", "timeout_seconds", "backoff_seconds", "requests_per_minute"])
def test_pace_out_of_range_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError):
        Pace(**{setting: type(getattr(Pace(), setting))(0)})
