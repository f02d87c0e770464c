"""A second router beside the one in service: it looks on as a shadow, or takes a share of the requests as a canary."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import Literal, NamedTuple

from unirouter_torch.config.choice import WeightedChoiceOptions
from unirouter_torch.errors import UniRouterError
from unirouter_torch.router.route import Route
from unirouter_torch.serving.batching import Batcher, BatchLimits
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.prompt_queue import Decision

TrialKind = Literal["shadow", "canary"]

SHADOW_LIMITS = BatchLimits(most_together=16, most_waiting=1024, most_waiting_characters=2**24)
"""What a shadow holds at one time; prompts beyond it are left out of the comparison."""

SHADOW_SECONDS = 0.25
"""How long decisions are collected: a shadow decides for many at a time, beside later answers and before none."""


class _Seen(NamedTuple):
    """A prompt that was decided in service: how an LLM was to be chosen, and where it went."""

    options: WeightedChoiceOptions
    prompt: str
    route: Route


class Trial:
    """Tries a second router. Each kind counts what is expected of its choices and of those in service.

    A shadow routes every prompt once more, a moment after the answer, on a thread that yields to all others. A canary
    decides for a share of the requests: those of one session or user go all to it or all not.

    Args:
        kind: ``shadow`` or ``canary``.
        live: The second router.
        metrics: Where both are counted.
        share: Share of the requests that a canary takes, in (0, 1).
    """

    def __init__(self, kind: TrialKind, live: LiveRouter, metrics: Metrics, share: float = 0.0) -> None:
        self.kind = kind
        self.live = live
        self.share = share
        # its stages and revision are no figures of the router in service
        is_shadow = kind == "shadow"
        self.batcher = Batcher(live.router, Metrics(), SHADOW_LIMITS if is_shadow else None, yields=is_shadow)
        self._metrics = metrics
        self._due = 0.0
        self._seen: deque[_Seen] = deque()
        self._num_characters = 0

    def takes(self, key: str | None) -> bool:
        """Whether a request is decided by the canary.

        Args:
            key: Session or user; requests of one key are treated alike. Those without one are dealt out evenly.
        """
        if self.kind != "canary":
            return False
        if key is not None:
            place = int.from_bytes(hashlib.sha256(key.encode(errors="replace")).digest()[:8])
            return place < self.share * 2**64
        self._due += self.share
        if self._due < 1:
            return False
        self._due -= 1
        return True

    def saw(self, prompts: Sequence[str], options: WeightedChoiceOptions, decision: Decision) -> None:
        """Take note of a decision in service; a shadow decides the same, later."""
        if self.kind == "canary":
            self._count("serving", decision.routes)
            return
        characters = self._num_characters + sum(map(len, prompts))
        if (
            len(self._seen) + len(prompts) > SHADOW_LIMITS.most_waiting
            or characters > SHADOW_LIMITS.most_waiting_characters
        ):
            self._metrics.trial_skipped.inc(len(prompts))
            return
        self._num_characters = characters
        self._seen.extend(map(_Seen, repeat(options), prompts, decision.routes))

    def decided(self, _: Sequence[str], __: WeightedChoiceOptions, decision: Decision) -> None:
        """Take note of a decision of the canary."""
        self._count("canary", decision.routes)
        for route in decision.routes:
            self._metrics.choices.labels(route.llm).inc()

    async def _compare_all(self) -> None:
        while True:
            await asyncio.sleep(SHADOW_SECONDS)
            while self._seen:
                some = [self._seen.popleft()]
                while (
                    self._seen and len(some) < SHADOW_LIMITS.most_together and self._seen[0].options == some[0].options
                ):
                    some.append(self._seen.popleft())
                self._num_characters -= sum(len(one.prompt) for one in some)
                await self._compare(some)

    async def _compare(self, seen: Sequence[_Seen]) -> None:
        """Let the shadow decide; all of them have the same options."""
        options = seen[0].options
        try:
            own = await self.batcher.route([one.prompt for one in seen], options.cost_weight, **options.choice)
        except UniRouterError:  # its pool has none of the LLMs that were asked for, or a prompt fits none
            if len(seen) == 1:
                self._metrics.trial_skipped.inc()
            else:
                for one in seen:
                    await self._compare([one])
            return
        self._count("serving", [one.route for one in seen])
        self._count("shadow", own.routes)
        self._metrics.trial_agreed.inc(sum(a.route.llm == b.llm for a, b in zip(seen, own.routes, strict=True)))

    def _count(self, router: str, routes: Sequence[Route]) -> None:
        self._metrics.trial_prompts.labels(router).inc(len(routes))
        self._metrics.trial_expected_cost.labels(router).inc(sum(route.cost[route.llm] for route in routes))
        self._metrics.trial_expected_error.labels(router).inc(sum(route.estimated_error[route.llm] for route in routes))

    async def follow(self) -> None:
        """Take over what has changed in its files."""
        await self.batcher.between(self.live.follow)

    async def run(self) -> None:
        """Work until cancelled."""
        await asyncio.gather(self.batcher.run(), *([self._compare_all()] if self.kind == "shadow" else []))
