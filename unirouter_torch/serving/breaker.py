"""LLMs that keep failing are left out for a while, and tried again: a circuit breaker for each."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unirouter_torch.serving.metrics import Metrics

FAILURES_IN_A_ROW = 3
"""After so many an LLM is left out."""

FIRST_PAUSE_SECONDS = 10.0
"""How long it is left out first; twice as long after each trial that fails."""

LONGEST_PAUSE_SECONDS = 300.0
"""Longest pause that this server chooses."""

LONGEST_ASKED_PAUSE_SECONDS = 3600.0
"""Longest pause that an upstream can ask for by ``Retry-After``."""


@dataclass(kw_only=True)
class _State:
    failures: int = 0
    pause: float = 0.0
    until: float = 0.0


class Breaker:
    """Which LLMs are asked, by how their latest calls went.

    An LLM is left out after three failures in a row, or as long as it asks for by ``Retry-After``. When the time is
    over one request asks it: an answer takes it back, a failure leaves it out for twice as long.

    Args:
        metrics: Where it is told who is left out.
        now: The time [seconds].
    """

    def __init__(self, metrics: Metrics, now: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._now = now
        self._states: dict[str, _State] = {}

    def in_service(self, llms: Sequence[str]) -> list[str]:
        """Those that are not left out, in the same order; all of them where none would be left."""
        return [llm for llm in llms if self._until(llm) <= self._now()] or list(llms)

    def asked(self, llm: str) -> None:
        """An LLM is asked now; if this is its trial, others leave it out meanwhile."""
        state = self._states.get(llm)
        if state is not None and state.pause:
            state.until = max(state.until, self._now() + state.pause)

    def answered(self, llm: str) -> None:
        """An LLM answered: its failures are forgotten."""
        if self._states.pop(llm, None) is not None:
            self._metrics.left_out.labels(llm).set(0)

    def failed(self, llm: str, asked_pause: float = 0.0) -> None:
        """An LLM failed.

        Args:
            llm: Its name.
            asked_pause: How long it asks to be left alone [seconds]; 0 where it does not say.
        """
        state = self._states.setdefault(llm, _State())
        state.failures += 1
        if state.failures >= FAILURES_IN_A_ROW:
            state.pause = min(2 * state.pause or FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        pause = max(state.pause, min(asked_pause, LONGEST_ASKED_PAUSE_SECONDS))
        if pause:
            state.until = self._now() + pause
            self._metrics.left_out.labels(llm).set(1)

    def _until(self, llm: str) -> float:
        state = self._states.get(llm)
        return 0.0 if state is None else state.until
