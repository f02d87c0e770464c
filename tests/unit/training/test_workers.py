import os
import signal

import pytest
import torch

from unirouter_torch.errors import ConfigError, DataError, UniRouterError
from unirouter_torch.training.workers import run_in_workers


def square(number: int) -> tuple[int, int]:
    return number**2, torch.get_num_threads()


def fail(number: int) -> int:
    if number == 2:
        raise DataError("number 2 is bad")
    return number


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("num_workers", [1, 2])
def test_results_come_in_the_order_of_jobs_each_computed_with_one_thread(num_workers: int) -> None:
    threads = torch.get_num_threads()
    assert run_in_workers(square, [3, 1, 2], num_workers=num_workers, description="squares") == [(9, 1), (1, 1), (4, 1)]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("num_workers", [1, 2])
def test_error_of_a_job_reaches_the_caller(num_workers: int) -> None:
    with pytest.raises(DataError, match="number 2 is bad"):
        run_in_workers(fail, [1, 2, 3], num_workers=num_workers, description="jobs")


def test_killed_worker_is_reported() -> None:
    with pytest.raises(UniRouterError, match=r"jobs: a worker process was killed.*fewer workers"):
        run_in_workers(die, [1, 2, 3], num_workers=2, description="jobs")


def test_no_worker_is_refused() -> None:
    with pytest.raises(ConfigError, match="workers: got 0"):
        run_in_workers(square, [1], num_workers=0, description="jobs")


def test_no_job_gives_no_result() -> None:
    assert run_in_workers(square, [], num_workers=2, description="jobs") == []
