"""The same function on many jobs, in parallel processes, with the same numbers however many there are."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from threadpoolctl import threadpool_limits

from unirouter_torch.config.checks import at_least
from unirouter_torch.errors import UniRouterError
from unirouter_torch.progress import progress

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")


def run_in_workers(
    function: Callable[[JobT], ResultT], jobs: Sequence[JobT], *, num_workers: int, description: str
) -> list[ResultT]:
    """``[function(job) for job in jobs]``, several at a time.

    Each job computes with one thread, in this process too: sums over several threads round differently, so a job's
    result would depend on the number of cores.

    Args:
        function: Computes one job; it and what it returns must survive pickling. It should keep what must outlast an
            interruption in a file.
        jobs: What to compute.
        num_workers: Processes, at least 1; one means this process.
        description: What the progress bar says.

    Returns:
        The results in the order of the jobs.

    Raises:
        ConfigError: ``num_workers`` is less than 1.
        UniRouterError: What a job raised, or a worker was killed.
    """
    at_least("workers", num_workers, 1)
    num_workers = max(1, min(num_workers, len(jobs)))
    parallel = Parallel(n_jobs=num_workers, return_as="generator_unordered", pre_dispatch=num_workers)
    tasks = (delayed(_run_alone)(function, number, job) for number, job in enumerate(jobs))
    results: dict[int, ResultT] = {}
    try:
        finished: Iterator[tuple[int, ResultT]] = parallel(tasks)
        results |= progress(finished, description, total=len(jobs))
    except TerminatedWorkerError:
        raise UniRouterError(
            f"{description}: a worker process was killed, perhaps for lack of memory; {len(results)} of {len(jobs)} "
            "were finished and are kept. Run the same command again, with fewer workers."
        ) from None
    return [results[number] for number in range(len(jobs))]


def _run_alone(function: Callable[[JobT], ResultT], number: int, job: JobT) -> tuple[int, ResultT]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1), warnings.catch_warnings():
            # what a user should know was said once when the table was loaded
            warnings.simplefilter("ignore")
            return number, function(job)
    finally:
        torch.set_num_threads(num_threads)
