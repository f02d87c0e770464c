"""Another router into service between two batches, and back: no restart, no lost request."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from unirouter_torch.config.choice import WeightedChoiceOptions
from unirouter_torch.config.router import Backend
from unirouter_torch.errors import PoolError, UniRouterError
from unirouter_torch.router.router import Router
from unirouter_torch.serving.batching import Batcher
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.prompt_queue import Decision
from unirouter_torch.serving.trial import Trial

_log = logging.getLogger(__name__)

_Identity = tuple[str, int, int]


class RouterRequest(BaseModel):
    """Which router to bring into service: the one on trial when nothing is given."""

    model_config = ConfigDict(extra="forbid", strict=True)

    router: str | None = Field(default=None, max_length=4096, description="Folder of a saved router on the server.")
    back: bool = Field(default=False, description="Back to the router that was in service before.")


class Promotion:
    """Which router is in service, which was before, and which is on trial.

    Args:
        live: What is served.
        batcher: Routes with it.
        metrics: Where changes are counted.
        trial: A second router; a promotion ends its trial.
        place: Where the router in service was loaded from. Another router saved there, or a link that is changed to
            another folder, comes into service.
    """

    def __init__(
        self, live: LiveRouter, batcher: Batcher, metrics: Metrics, *, trial: Trial | None, place: Path | None
    ) -> None:
        self.trial = trial
        self._live = live
        self._batcher = batcher
        self._metrics = metrics
        self._place = place
        self._identity = _identity(place)
        self._before: Router | None = None
        self._one = asyncio.Lock()

    def saw(self, prompts: Sequence[str], options: WeightedChoiceOptions, decision: Decision) -> None:
        """Let the router on trial take note of a decision in service."""
        if self.trial is not None:
            self.trial.saw(prompts, options, decision)

    async def describe(self) -> dict[str, Any]:
        """Names of the folders of the router in service, of the one before, and of the one on trial."""
        trial = self.trial
        return {
            "router": _name(self._live.router),
            "before": None if self._before is None else _name(self._before),
            "trial": trial and {"kind": trial.kind, "router": _name(trial.live.router), "share": trial.share},
        }

    async def promote(self, asked: RouterRequest) -> None:
        """Bring another router into service; when this returns it decides.

        Raises:
            PoolError: There is none to bring, or its pool cannot be chosen from.
            ArtifactError: The folder holds no router.
        """
        async with self._one:
            if asked.back:
                if self._before is None:
                    raise PoolError("back: no other router was in service since the start.")
                await self._switch(self._before)
                return
            folder = asked.router
            if folder is None:
                if self.trial is None or self.trial.live.router.saved is None:
                    raise PoolError("router: none is on trial. Send the folder of one.")
                folder = str(self.trial.live.router.saved.folder)
            # loaded anew where it is on trial, as each router belongs to one thread
            await self._switch(await asyncio.to_thread(load_beside, Path(folder), self._live.router))
            self.trial = None

    async def follow(self) -> None:
        """Take over another router from the place that is followed; what cannot be loaded is said once."""
        identity = _identity(self._place)
        if identity is None or identity == self._identity:
            return
        self._identity = identity
        assert self._place is not None
        async with self._one:
            try:
                await self._switch(await asyncio.to_thread(load_beside, self._place, self._live.router))
            except UniRouterError as error:
                self._metrics.reload_errors.inc()
                _log.error("%s: not taken over: %s", self._place, error)

    async def _switch(self, router: Router) -> None:
        before = self._live.router
        await self._batcher.switch(router, partial(self._live.replace, router))
        self._before = before
        self._metrics.promotions.inc()
        _log.info("%s is in service", _name(router))


def open_router(name: str, backend: Backend = "torch") -> tuple[Router, Path | None]:
    """A router, and the folder or link that it is followed by; none for one of the package or of the hub.

    A link may lead elsewhere later, when changes of this router's pool still belong where it lies.
    """
    place = Path(name)
    if not place.is_dir():
        return Router.from_pretrained(name, backend=backend), None
    return Router.from_pretrained(place.resolve(), backend=backend), place


def load_beside(folder: Path, other: Router) -> Router:
    """A router that is ready to serve, on the device and the backend of another one.

    Args:
        folder: Its folder, or a link to it.
        other: The other one.

    Raises:
        PoolError: There is no such folder.
        ArtifactError: It holds no router.
    """
    try:
        is_folder = folder.is_dir()
    except OSError:  # as of a name that is too long
        is_folder = False
    if not is_folder:  # a name could be one on the hub, which a server does not load from when asked
        raise PoolError(f"router: {folder} is no folder of this machine. Give the folder of a saved router.")
    router = Router.from_pretrained(folder.resolve(), backend=other.encoder.backend).to(other.head.device)
    router.cluster(["What is 17 + 25?"])  # the first call takes longer; no client shall wait for it
    return router


def _identity(place: Path | None) -> _Identity | None:
    """What tells one folder from another that is put in its place; none while there is none."""
    if place is None:
        return None
    try:
        state = place.stat()
        return str(place.resolve()), state.st_dev, state.st_ino
    except OSError:
        return None


def _name(router: Router) -> str:
    return "not saved" if router.saved is None else router.saved.folder.name
