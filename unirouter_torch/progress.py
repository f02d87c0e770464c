"""How far a long computation has come."""

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm  # type: ignore[import-untyped]

_Item = TypeVar("_Item")

_SECONDS_BETWEEN_LOG_LINES = 10.0


def progress(
    items: Iterable[_Item], description: str, *, total: int | None = None, enabled: bool = True
) -> Iterable[_Item]:
    """Give ``items`` unchanged while a bar with the estimated time left is drawn on standard error.

    Where standard error is no terminal, for example in a log file, a line is written every 10 seconds at most.

    Args:
        items: What to go through.
        description: A few words before the bar.
        total: Number of items; their length when not given.
        enabled: Whether to draw at all.
    """
    bar: Iterable[_Item] = tqdm(items, desc=description, total=total, disable=not enabled, **_intervals())
    return bar


class ProgressBar:
    """The same bar for a loop that somebody else runs.

    Args:
        description: A few words before the bar.
        total: Number of steps.
        done: How many of them were done before.
    """

    def __init__(self, description: str, total: int, *, done: int = 0) -> None:
        self._bar = tqdm(desc=description, total=total, initial=done, **_intervals())

    def advance(self, **facts: float) -> None:
        """One step is done; ``facts`` stand behind the bar until the next call."""
        self._bar.set_postfix({name: f"{value:.4f}" for name, value in facts.items()}, refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Draw the bar for the last time."""
        self._bar.close()


def _intervals() -> dict[str, Any]:
    seconds = 0.1 if sys.stderr.isatty() else _SECONDS_BETWEEN_LOG_LINES
    return {"mininterval": seconds, "maxinterval": max(seconds, 10.0)}
