"""What a stage of a method takes: wall time, CPU time, peak memory."""

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class StageCost:
    """What a stage took.

    Attributes:
        wall_seconds: Time on the clock.
        cpu_seconds: Time of all threads of this process on all cores.
        peak_bytes: How far the resident memory of this process rose above its size at the start; None where the system
            does not tell (only Linux does).
    """

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int | None


def measure(stage: Callable[[], _T]) -> tuple[_T, StageCost]:
    """Run a stage and measure it.

    Memory that an earlier stage has freed is given back to the system first, as far as the C library can; what the
    process still holds of it counts as there at the start. So a peak can be too small, never too large.

    Args:
        stage: What to run.

    Returns:
        What the stage returned, and what it took.
    """
    start_bytes = _reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    result = stage()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak_bytes = None if start_bytes is None else max(0, _read_bytes("VmHWM") - start_bytes)
    return result, StageCost(wall, cpu, peak_bytes)


def _reset_peak() -> int | None:
    """Set the peak to the present resident size and return that; None where the system cannot."""
    if not _CLEAR_REFS.exists():
        return None
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
    try:
        _CLEAR_REFS.write_text("5")
        return _read_bytes("VmRSS")
    except OSError:
        return None


def _read_bytes(field: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
