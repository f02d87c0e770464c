"""What a pool is expected to do, worked out once for each revision and beside the thread that routes."""

import asyncio
import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from unirouter_torch.config.choice import WeightedChoiceOptions
from unirouter_torch.metrics.expected import Expectation, expect
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.router.explanation import cluster_error_interval
from unirouter_torch.router.profile import COST_WEIGHTS
from unirouter_torch.router.router import Router
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.shapes import ClusterError

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What one pool is expected to do.

    Attributes:
        router: The router with the pool as it was looked at; its encoder belongs to the thread that routes.
        defaults: How an LLM is chosen where a request does not say.
    """

    router: Router
    defaults: WeightedChoiceOptions

    def chooser_of(self, cost_weight: float | None = None, latency_weight: float | None = None) -> Chooser:
        """What chooses with other weights than those of the server, where they are given."""
        own, names = self.defaults, self.router.pool.names
        return self.router.chooser(
            own.cost_weight if cost_weight is None else cost_weight,
            latency_weight=own.latency_weight if latency_weight is None else latency_weight,
            caution=own.caution,
            llms=None if own.llms is None else [name for name in own.llms if name in names],
        )

    @cached_property
    def chooser(self) -> Chooser:
        """What chooses where a request says nothing."""
        return self.chooser_of()

    @cached_property
    def expectation(self) -> Expectation:
        """Over the calibration prompts."""
        return expect(self.chooser, self.router.calibration, COST_WEIGHTS)

    @cached_property
    def interval(self) -> tuple[ClusterError, ClusterError]:
        """The 90 % intervals of the cluster errors."""
        return cluster_error_interval(self.router.head, self.router.pool)


class Outlooks:
    """Gives the outlook of the pool in service; one at a time, so that many who look take one core at most.

    Args:
        live: What is served.
    """

    def __init__(self, live: LiveRouter) -> None:
        self._live = live
        self._kept: Outlook | None = None
        self._one = asyncio.Lock()

    async def look(self, work: Callable[[Outlook], Result]) -> Result:
        """What ``work`` finds in the outlook of the pool in service."""
        async with self._one:
            return await asyncio.to_thread(lambda: work(self._outlook()))

    def _outlook(self) -> Outlook:
        router, kept = self._live.router, self._kept
        if kept is None or kept.router.pool is not router.pool:
            router = copy.copy(router)  # the one in service may get another pool meanwhile
            kept = self._kept = Outlook(router=router, defaults=self._live.defaults)
        return kept
