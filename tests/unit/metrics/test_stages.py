import time

import pytest
import torch

from unirouter_torch.metrics import stages
from unirouter_torch.metrics.stages import measure


def test_result_comes_back_with_what_it_took() -> None:
    result, cost = measure(lambda: "done")
    assert result == "done"
    assert cost.wall_seconds >= 0 and cost.cpu_seconds >= 0


def test_waiting_takes_wall_time_and_no_cpu_time() -> None:
    _, cost = measure(lambda: time.sleep(0.2))
    assert cost.wall_seconds >= 0.2
    assert cost.cpu_seconds < cost.wall_seconds


def test_computing_takes_cpu_time() -> None:
    def compute() -> None:
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass

    _, cost = measure(compute)
    assert cost.cpu_seconds >= 0.1
    assert cost.wall_seconds >= 0.9 * cost.cpu_seconds


def test_peak_is_what_the_stage_held_even_after_a_stage_that_held_as_much() -> None:
    def hold(num_blocks: int) -> int:
        # blocks small enough that the C library keeps them when they are freed
        return len([torch.ones(2**18) for _ in range(num_blocks)])

    peaks = [measure(lambda: hold(64))[1].peak_bytes for _ in range(3)]
    if None in peaks:
        pytest.skip("this system does not tell the peak of a process's memory")
    for peak in peaks:
        assert peak is not None
        assert 48 * 2**20 < peak < 96 * 2**20


def test_peak_is_unknown_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(stages, "_CLEAR_REFS", tmp_path / "absent")
    assert measure(lambda: None)[1].peak_bytes is None


def test_error_of_the_stage_passes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0)
