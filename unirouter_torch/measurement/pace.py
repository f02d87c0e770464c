"""How fast an endpoint is asked: rate limits, pauses that it asks for, and back-off."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from unirouter_torch.config.checks import at_least, positive

WINDOW_SECONDS = 60.0
LONGEST_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How an endpoint is asked."""

    concurrency: int = 8
    """Calls on their way at one time, at least 1."""
    timeout_seconds: float = 120.0
    """Longest that one call may take, its body included, positive."""
    retries: int = 5
    """How often a call that failed is tried again, at least 0."""
    backoff_seconds: float = 1.0
    """Wait before the first new try, positive; it doubles with each one, up to a minute."""
    requests_per_minute: float = float("inf")
    """Most calls sent in any minute, at least 1."""
    tokens_per_minute: float = float("inf")
    """Most tokens in any minute, at least 1; a call on its way counts with the most that it can take."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least("concurrency", self.concurrency, 1)
        positive("timeout_seconds", self.timeout_seconds)
        at_least("retries", self.retries, 0)
        positive("backoff_seconds", self.backoff_seconds)
        at_least("requests_per_minute", self.requests_per_minute, 1)
        at_least("tokens_per_minute", self.tokens_per_minute, 1)


# by hand, not by tenacity: what was paid for is written between two tries, and a pause that an endpoint asks for counts
# for all questions
def wait_before_retry(attempt: int, backoff_seconds: float, retry_after: float) -> float:
    """Seconds to wait after the attempt of that number, from 0.

    The back-off doubles from attempt to attempt, and half of it is random, so that calls that failed together do not
    come back together. It is never shorter than what the endpoint asked for.
    """
    longest = min(backoff_seconds * 2.0**attempt, LONGEST_BACKOFF_SECONDS)
    return max(retry_after, longest * random.uniform(0.5, 1.0))


@dataclass
class Sent:
    """A call in the window of a rate limiter."""

    at: float
    """When it was sent [seconds]."""
    tokens: int
    """What it takes [tokens]: its worst case while it is on its way, what it took afterwards."""


class RateLimiter:
    """Holds calls back so that no minute sees more requests or tokens than the endpoint allows.

    Args:
        pace: The limits.
        clock: Seconds that never run backwards.
    """

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._clock = clock
        self._window: deque[Sent] = deque()
        self._resume_at = -float("inf")

    def pause(self, seconds: float) -> None:
        """Send nothing for so long: the endpoint asked for it."""
        self._resume_at = max(self._resume_at, self._clock() + seconds)

    async def enter(self, tokens: int) -> Sent:
        """Wait until a call that can take so many tokens may be sent; it counts from then on."""
        while (delay := self.delay(tokens)) > 0:
            await asyncio.sleep(delay)
        sent = Sent(self._clock(), tokens)
        self._window.append(sent)
        return sent

    def delay(self, tokens: int) -> float:
        """Seconds until a call of so many tokens may be sent, if nothing else is sent; 0 when it may be sent now.

        A call that exceeds the limit by itself is sent when the window is empty.
        """
        now = self._clock()
        while self._window and self._window[0].at <= now - WINDOW_SECONDS:
            self._window.popleft()
        ready = self._resume_at
        num_requests, num_tokens = len(self._window) + 1, sum(sent.tokens for sent in self._window) + tokens
        for sent in self._window:
            if num_requests <= self._pace.requests_per_minute and num_tokens <= self._pace.tokens_per_minute:
                break
            ready = max(ready, sent.at + WINDOW_SECONDS)
            num_requests, num_tokens = num_requests - 1, num_tokens - sent.tokens
        return max(0.0, ready - now)
