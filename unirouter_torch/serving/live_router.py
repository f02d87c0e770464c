"""What a server knows from files: the pool of its router and the upstreams, taken over anew when they change."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from unirouter_torch.config.choice import WeightedChoiceOptions
from unirouter_torch.errors import PoolError, UniRouterError
from unirouter_torch.router.pool_history import PoolRevision, latest_number
from unirouter_torch.router.router import Router
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.upstreams import Upstream, read_upstreams

_log = logging.getLogger(__name__)


class LiveRouter:
    """A router whose pool and upstreams follow their files.

    What cannot be read is said once in the log, and what was there before stays.

    Args:
        router: The router.
        metrics: Where the revision and failed changes are counted.
        defaults: How an LLM is chosen where a request does not say.
        upstream_file: Where LLMs are asked; none for a server that only routes.

    Attributes:
        router: The router.
        defaults: As above; names that the pool does not hold any more are passed over.
        upstreams: Where each LLM is asked, by name; LLMs that the pool does not hold are allowed.

    Raises:
        PoolError: The pool is empty, no LLM of it has an upstream, a latency counts that is not known, or one of the
            defaults is out of range.
        ConfigError: The upstream file is at fault.
    """

    def __init__(
        self,
        router: Router,
        metrics: Metrics,
        *,
        defaults: WeightedChoiceOptions | None = None,
        upstream_file: Path | None = None,
    ) -> None:
        self.router = router
        self.upstreams: dict[str, Upstream] = {}
        self._metrics = metrics
        self.defaults = WeightedChoiceOptions() if defaults is None else defaults
        self._file = upstream_file
        self._file_state = self._state_of_file()
        self._number = self._latest_number()
        router.chooser(self.defaults.cost_weight, **self.defaults.choice)
        metrics.revision.set(self._number)
        if upstream_file is not None:
            self.upstreams = read_upstreams(upstream_file)
            if not self.open_to_chats:
                raise self._none_reachable(router.pool)

    @property
    def reachable(self) -> list[str]:
        """LLMs of the pool that can be asked, those that are disabled among them."""
        return [llm for llm in self.router.pool.names if llm in self.upstreams]

    @property
    def open_to_chats(self) -> list[str]:
        """Those of them that a chat may be sent to by the router."""
        among = self.defaults.llms
        return self.reachable if among is None else [llm for llm in self.reachable if llm in among]

    def follow(self) -> None:
        """Take over what has changed in the files; on the thread that routes."""
        state, number = self._state_of_file(), self._latest_number()
        if state != self._file_state:
            self._file_state = state
            self._try(self._read_upstreams)
        if number != self._number:
            self._number = number
            self._try(self._read_pool)

    def observe(self, outcomes: Sequence[tuple[str, str, float]], half_life: float) -> dict[str, DriftTest]:
        """Add outcomes in use to the pool, as one revision; on the thread that routes.

        Args:
            outcomes: LLM, prompt and score of each answer, the oldest first.
            half_life: As in :meth:`Router.observe`.

        Returns:
            The test for drift of each LLM that has outcomes among them.

        Raises:
            PoolError: As there, or the router lies in no folder. Nothing was added.
            ArtifactError: The latest revision is damaged. Nothing was added.
        """
        by_llm: dict[str, list[tuple[str, float]]] = {}
        for llm, prompt, score in outcomes:
            by_llm.setdefault(llm, []).append((prompt, score))

        def add(router: Router) -> None:
            def change() -> None:
                for llm, its in by_llm.items():
                    prompts, scores = zip(*its, strict=True)
                    router.observe(llm, prompts, scores, half_life=half_life)

            router.change_pool(change, f"feedback: {len(outcomes)} outcomes of {', '.join(by_llm)}")

        pool = self.change(add).pool
        return {llm: test for llm in by_llm if (test := pool[llm].drift) is not None}

    def replace(self, router: Router) -> None:
        """Serve another router; on the thread that routes.

        Raises:
            PoolError: Its pool cannot be chosen from, or none of its LLMs has an upstream; the one before stays.
        """
        before, own = self.router, self.defaults
        llms = None if own.llms is None else [name for name in own.llms if name in router.pool.names]
        router.chooser(own.cost_weight, latency_weight=own.latency_weight, caution=own.caution, llms=llms)
        self.router = router
        if self._file is not None and not self.open_to_chats:
            self.router = before
            raise self._none_reachable(router.pool)
        # a later revision in its folder is followed from here on
        self._number = 0 if router.saved is None else router.saved.revision.number
        self._metrics.revision.set(self._number)

    def change(self, change: Callable[[Router], None]) -> PoolRevision:
        """Change the pool and save it, and take it over as a change by others; on the thread that routes.

        Args:
            change: Changes the pool of the router that it gets, and saves it.

        Returns:
            The revision that was written.

        Raises:
            PoolError: As it says, or the router lies in no folder. Nothing was changed.
            ArtifactError: The latest revision is damaged. Nothing was changed.
        """
        router, before = self.router, self.router.pool
        try:
            change(router)
            assert router.saved is not None
            return router.saved.revision
        finally:
            router.pool = before
            self.follow()

    def _none_reachable(self, pool: LLMPool) -> PoolError:
        some = ", ".join(pool.names[:5])
        return PoolError(f"{self._file}: names no LLM of the pool, which holds {some}. Use these names.")

    def _try(self, change: Callable[[], None]) -> None:
        try:
            change()
        except Exception as error:  # whatever it is, the server goes on with what it has
            self._metrics.reload_errors.inc()
            _log.error("not taken over: %s", error)

    def _read_upstreams(self) -> None:
        assert self._file is not None
        self.upstreams = read_upstreams(self._file)
        _log.info("%s: upstreams of %d LLMs", self._file, len(self.upstreams))

    def _read_pool(self) -> None:
        router, before = self.router, self.router.pool
        try:
            router.reload_pool()
            self._check(router.pool)
        except UniRouterError:
            router.pool = before
            raise
        assert router.saved is not None
        self._metrics.revision.set(router.saved.revision.number)
        _log.info("pool: revision %d, %s", router.saved.revision.number, router.saved.revision.change.what)

    def _check(self, pool: LLMPool) -> None:
        """Refuse a pool that could not be chosen from."""
        weight = self.defaults.latency_weight
        pool.check_latency(pool.latency_weight if weight is None else weight)

    def _latest_number(self) -> int:
        saved = self.router.saved
        return 0 if saved is None else latest_number(saved.folder) or saved.revision.number

    def _state_of_file(self) -> tuple[int, int] | None:
        try:
            return None if self._file is None else (self._file.stat().st_mtime_ns, self._file.stat().st_size)
        except OSError:
            return None
