"""Which error tells why the workers of a run ended."""

import signal

import pytest

from unirouter_torch.errors import ConfigError, TerminatedError, UniRouterError
from unirouter_torch.training.launch import _what_happened

LOST = RuntimeError("worker 1 failed: connection lost")


@pytest.mark.parametrize(
    ("codes", "outcomes", "asked_to_end", "kind", "message"),
    [
        ([1, 1], [LOST, ConfigError("no such GPU")], False, ConfigError, "no such GPU"),
        ([1, 1], [LOST, TerminatedError()], False, TerminatedError, ""),
        ([-signal.SIGTERM, 1], [None, LOST], True, TerminatedError, ""),
        ([1, -signal.SIGKILL], [LOST, None], False, UniRouterError, "worker 1 of 2 was ended by SIGKILL"),
        ([1, 0], [LOST, None], False, RuntimeError, "connection lost"),
        ([0, 3], [None, None], False, UniRouterError, "worker 1 of 2 ended with exit code 3 and left no error"),
    ],
)
def test_cause_comes_before_its_consequences(
    codes: list[int], outcomes: list[Exception | None], asked_to_end: bool, kind: type[Exception], message: str
) -> None:
    found = _what_happened(codes, outcomes, asked_to_end=asked_to_end)
    assert type(found) is kind
    assert message in str(found)
