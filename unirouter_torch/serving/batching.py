"""Prompts of many clients in few calls of the encoder: what waits is embedded together."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

import torch

from unirouter_torch.errors import PoolError, UniRouterError
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.router.route import Route
from unirouter_torch.router.router import Router
from unirouter_torch.routing.token_cost import count_tokens
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.shapes import ClusterProbability

Result = TypeVar("Result")


class OverloadedError(UniRouterError):
    """Too many prompts wait already."""


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """How prompts of different requests come together.

    Attributes:
        most_together: Prompts that are embedded in one call, at least 1; a request of more makes a batch of its own.
        most_waiting: Prompts that may wait or be in work, at least 1; further ones are refused.
    """

    most_together: int = 64
    most_waiting: int = 1024


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to choose; each as in :meth:`Router.route`, but names that the pool does not hold are passed over."""

    cost_weight: float | None = None
    latency_weight: float | None = None
    caution: float | None = None
    llms: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Where the prompts of one request go.

    Attributes:
        routes: One for each prompt, in order.
        chooser: What they were chosen by.
    """

    routes: list[Route]
    chooser: Chooser


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    prompts: Sequence[str]
    options: Options
    done: asyncio.Future[Decision]
    since: float


_Outcome: TypeAlias = Decision | Exception


class Batcher:
    """Routes the prompts of many requests with one router, on one thread of its own.

    While the thread works, requests queue up; then it takes what is there, and never waits for more. Each request keeps
    its own options, and gets the routes that it would have got alone, but for rounding
    in the encoder.

    Args:
        router: The router; nobody else may call it meanwhile.
        metrics: Where stages are counted.
        limits: How prompts come together.
    """

    def __init__(self, router: Router, metrics: Metrics, limits: BatchLimits | None = None) -> None:
        self._router = router
        self._metrics = metrics
        self._limits = limits or BatchLimits()
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._num_waiting = 0
        self._free = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="router")

    async def route(
        self,
        prompts: Sequence[str],
        cost_weight: float | None = None,
        *,
        latency_weight: float | None = None,
        caution: float | None = None,
        llms: Iterable[str] | None = None,
    ) -> Decision:
        """Choose an LLM for each prompt, as :meth:`Router.route` does. A cancelled call is dropped from the queue.

        Args:
            prompts: Texts to route, at least one.
            cost_weight: As there.
            latency_weight: As there.
            caution: As there.
            llms: As there, but names that the pool does not hold are passed over.

        Raises:
            OverloadedError: Too many prompts wait.
            PoolError: As there.
        """
        if self._num_waiting and self._num_waiting + len(prompts) > self._limits.most_waiting:
            raise OverloadedError(f"{self._num_waiting} prompts wait already. Try again in a second.")
        done: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._count(len(prompts))
        done.add_done_callback(lambda _: self._count(-len(prompts)))
        options = Options(
            cost_weight=cost_weight,
            latency_weight=latency_weight,
            caution=caution,
            llms=None if llms is None else frozenset(llms),
        )
        self._jobs.append(_Job(prompts=prompts, options=options, done=done, since=time.monotonic()))
        self._arrived.set()
        return await done

    async def between(self, work: Callable[[], Result]) -> Result:
        """Run something else on the thread of the router, between two batches."""
        async with self._free:
            return await self._on_thread(work)

    async def run(self) -> None:
        """Work until cancelled; nothing is routed before."""
        while True:
            await self._arrived.wait()
            async with self._free:
                jobs = self._take()
                outcomes = await self._on_thread(partial(self._answer, jobs)) if jobs else []
            for job, outcome in zip(jobs, outcomes, strict=True):
                if job.done.cancelled():
                    continue
                if isinstance(outcome, Exception):
                    job.done.set_exception(outcome)
                else:
                    job.done.set_result(outcome)

    async def _on_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _count(self, prompts: int) -> None:
        self._num_waiting += prompts
        self._metrics.waiting.set(self._num_waiting)

    def _take(self) -> list[_Job]:
        jobs: list[_Job] = []
        room = self._limits.most_together
        while self._jobs and (not jobs or len(self._jobs[0].prompts) <= room):
            job = self._jobs.popleft()
            if not job.done.cancelled():
                jobs.append(job)
                room -= len(job.prompts)
                self._metrics.stage.labels("queue").observe(time.monotonic() - job.since)
        if not self._jobs:
            self._arrived.clear()
        return jobs

    def _answer(self, jobs: Sequence[_Job]) -> list[_Outcome]:
        start = time.monotonic()
        try:
            probability = self._router.cluster([prompt for job in jobs for prompt in job.prompts])
        except Exception as error:
            return [error] * len(jobs)
        encoded = time.monotonic()
        outcomes = dict(self._decide(jobs, probability))
        self._metrics.stage.labels("encode").observe(encoded - start)
        self._metrics.stage.labels("decide").observe(time.monotonic() - encoded)
        self._metrics.batch.observe(len(probability))
        return [outcomes[number] for number in range(len(jobs))]

    def _decide(self, jobs: Sequence[_Job], probability: ClusterProbability) -> Iterator[tuple[int, _Outcome]]:
        """The outcome of each job, by its number; jobs that ask for the same are decided together."""
        parts = torch.split(probability, [len(job.prompts) for job in jobs])
        alike: dict[Options, list[int]] = {}
        for number, job in enumerate(jobs):
            alike.setdefault(job.options, []).append(number)
        for options, numbers in alike.items():
            try:
                yield from self._decide_alike(jobs, parts, options, numbers)
            except Exception:  # what is wrong with one of them spoils no other
                for number in numbers:
                    try:
                        yield from self._decide_alike(jobs, parts, options, [number])
                    except Exception as error:
                        yield number, error

    @torch.inference_mode()
    def _decide_alike(
        self, jobs: Sequence[_Job], parts: Sequence[ClusterProbability], options: Options, numbers: Sequence[int]
    ) -> list[tuple[int, Decision]]:
        prompts = [prompt for number in numbers for prompt in jobs[number].prompts]
        chooser = self._chooser(options)
        routes = chooser.routes(torch.cat([parts[number] for number in numbers]), count_tokens(prompts))
        for route in routes:
            self._metrics.choices.labels(route.llm).inc()
        each = iter(routes)
        return [
            (number, Decision(routes=[next(each) for _ in jobs[number].prompts], chooser=chooser)) for number in numbers
        ]

    def _chooser(self, options: Options) -> Chooser:
        names = self._router.pool.names
        llms = None if options.llms is None else [name for name in names if name in options.llms]
        if llms == []:
            raise PoolError("llms: the pool holds none of them any more.")
        return self._router.chooser(
            options.cost_weight, latency_weight=options.latency_weight, caution=options.caution, llms=llms
        )
