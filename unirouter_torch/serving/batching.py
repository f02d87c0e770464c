"""Prompts of many clients in few calls of the encoder: what waits is embedded together."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar, Unpack

import torch

from unirouter_torch.config.choice import Choice
from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.errors import PoolError, UniRouterError
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.router.router import Router
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.prompt_queue import Decision, Job, Options, PromptQueue

Result = TypeVar("Result")


class OverloadedError(UniRouterError):
    """Too many prompts wait already."""


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """How prompts of different requests come together.

    Attributes:
        most_together: Prompts that are embedded in one call, at least 1.
        most_characters_together: What is tokenized of them [characters], unless it is a single prompt, at least 1.
        most_waiting: Prompts that may wait or be in work, at least 1; further ones are refused. Requests of more
            prompts than are embedded in one call find half of the room, so that they never keep small ones out.
        most_waiting_characters: Their length [characters], at least 1.
    """

    most_together: int = 64
    most_characters_together: int = 2**15
    most_waiting: int = 4096
    most_waiting_characters: int = 2**26


_Outcome: TypeAlias = Decision | Exception


class Batcher:
    """Routes the prompts of many requests with one router, on one thread of its own.

    While the thread works, requests queue up; then it takes what is there, and never waits for more. Clients take
    turns, and so do the requests of a client: a request of many long prompts is embedded piece by piece, and holds up
    no other one for longer than a batch takes. Each request keeps its own options, and gets the routes that it would
    have got alone, but for rounding in the encoder.

    Args:
        router: The router; nobody else may call it meanwhile.
        metrics: Where stages are counted.
        limits: How prompts come together.
        yields: Whether all other threads of this machine come first.
    """

    def __init__(
        self, router: Router, metrics: Metrics, limits: BatchLimits | None = None, *, yields: bool = False
    ) -> None:
        self._router = router
        self._metrics = metrics
        self._limits = limits or BatchLimits()
        self._queue = PromptQueue(router.encoder.most_characters)
        self._arrived = asyncio.Event()
        self._num_waiting = 0
        self._characters_waiting = 0
        self._free = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "router", initializer=_yield_to_others if yields else None)

    async def route(
        self,
        prompts: Sequence[str],
        cost_weight: float | None = None,
        *,
        client: str = "",
        **choice: Unpack[Choice],
    ) -> Decision:
        """Choose an LLM for each prompt, as :meth:`Router.route` does. A cancelled call is dropped from the queue.

        Args:
            prompts: Texts to route, at least one.
            cost_weight: As there.
            client: Who asks; clients take turns.
            choice: As there, but names that the pool does not hold are passed over.

        Raises:
            OverloadedError: Too many prompts wait.
            PoolError: As there.
        """
        done: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        llms = choice.get("llms")
        options = Options(
            cost_weight=cost_weight,
            latency_weight=choice.get("latency_weight"),
            caution=choice.get("caution"),
            llms=None if llms is None else frozenset(llms),
        )
        tokens = count_tokens(prompts)
        job = Job(prompts=prompts, tokens=tokens, options=options, done=done, since=time.monotonic())
        characters = sum(map(len, prompts))
        self._check_room(len(prompts), characters)
        self._count(len(prompts), characters)
        done.add_done_callback(lambda _: self._count(-len(prompts), -characters))
        self._queue.add(client, job)
        self._arrived.set()
        return await done

    def _check_room(self, prompts: int, characters: int) -> None:
        limits = self._limits
        parts = 1 if prompts <= limits.most_together else 2
        is_full = (
            self._num_waiting + prompts > limits.most_waiting // parts
            or self._characters_waiting + characters > limits.most_waiting_characters // parts
        )
        if self._num_waiting and is_full:
            raise OverloadedError(f"{self._num_waiting} prompts wait already. Try again in a second.")

    async def between(self, work: Callable[[], Result]) -> Result:
        """Run something else on the thread of the router, between two batches."""
        async with self._free:
            return await self._on_thread(work)

    async def switch(self, router: Router, take_over: Callable[[], None]) -> None:
        """Route with another router from the next batch on; what waits is routed by it, and no request by both.

        Args:
            router: The other router; nobody else may call it from now on.
            take_over: Is called on the thread of the router, between two batches; where it fails all stays as it was.
        """
        async with self._free:
            await self._on_thread(take_over)
            self._router = router
            self._queue.restart(router.encoder.most_characters)

    async def run(self) -> None:
        """Work until cancelled; nothing is routed before."""
        limits = self._limits
        while True:
            await self._arrived.wait()
            async with self._free:
                pieces = self._queue.take(limits.most_together, limits.most_characters_together)
                if not self._queue:
                    self._arrived.clear()
                outcomes = await self._on_thread(partial(self._answer, pieces)) if pieces else []
            for job, outcome in outcomes:
                if job.done.done():  # cancelled
                    continue
                if isinstance(outcome, Exception):
                    job.done.set_exception(outcome)
                else:
                    job.done.set_result(outcome)

    async def _on_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _count(self, prompts: int, characters: int) -> None:
        self._num_waiting += prompts
        self._characters_waiting += characters
        self._metrics.waiting.set(self._num_waiting)

    def _answer(self, pieces: Mapping[Job, Sequence[str]]) -> list[tuple[Job, _Outcome]]:
        """The outcomes of the jobs that are finished with these prompts."""
        start = time.monotonic()
        for job in pieces:
            if not job.parts:
                self._metrics.stage.labels("queue").observe(start - job.since)
        try:
            probability = self._router.cluster([prompt for prompts in pieces.values() for prompt in prompts])
        except Exception as error:
            return [(job, error) for job in pieces]
        encoded = time.monotonic()
        for (job, prompts), part in zip(
            pieces.items(), torch.split(probability, [len(prompts) for prompts in pieces.values()]), strict=True
        ):
            job.parts.append(part)
            job.num_done += len(prompts)
        outcomes = list(self._decide([job for job in pieces if job.num_done == len(job.prompts)]))
        self._metrics.stage.labels("encode").observe(encoded - start)
        self._metrics.stage.labels("decide").observe(time.monotonic() - encoded)
        self._metrics.batch.observe(len(probability))
        return outcomes

    def _decide(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, _Outcome]]:
        """The outcome of each job; those that ask for the same are decided together."""
        alike: dict[Options, list[Job]] = {}
        for job in jobs:
            alike.setdefault(job.options, []).append(job)
        for options, some in alike.items():
            try:
                yield from self._decide_alike(some, options)
            except Exception:  # what is wrong with one of them spoils no other
                for job in some:
                    try:
                        yield from self._decide_alike([job], options)
                    except Exception as error:
                        yield job, error

    @torch.inference_mode()
    def _decide_alike(self, jobs: Sequence[Job], options: Options) -> list[tuple[Job, Decision]]:
        chooser = self._chooser(options)
        probability = torch.cat([part for job in jobs for part in job.parts])
        routes = chooser.routes(probability, torch.cat([job.tokens for job in jobs]))
        for route in routes:
            self._metrics.choices.labels(route.llm).inc()
        each = iter(routes)
        return [(job, Decision(routes=[next(each) for _ in job.prompts], chooser=chooser)) for job in jobs]

    def _chooser(self, options: Options) -> Chooser:
        names = self._router.pool.names
        llms = None if options.llms is None else [name for name in names if name in options.llms]
        if llms == []:
            raise PoolError("llms: the pool holds none of them any more.")
        return self._router.chooser(
            options.cost_weight, latency_weight=options.latency_weight, caution=options.caution, llms=llms
        )


def _yield_to_others() -> None:
    if sys.platform == "linux":  # elsewhere priorities belong to processes
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
