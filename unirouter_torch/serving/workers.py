"""Several server processes on one address: each loads the router, and all follow its one folder."""

# what a worker needs is imported when it makes its application, so that it answers the first healthcheck at once

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from unirouter_torch.errors import UniRouterError
from unirouter_torch.serving.settings import ServerSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from unirouter_torch.serving.live_router import LiveRouter

_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_HEALTHCHECK_SECONDS = 60


def serve_by_workers(router: str, settings: ServerSettings, tell: Callable[[str, "LiveRouter"], None]) -> None:
    """As :func:`unirouter_torch.serving.server.serve`, by ``settings.workers`` processes.

    A worker that dies is replaced. Feedback of all goes into the pool one revision after another, and each worker takes
    over the revisions of the others; ``/metrics`` of any of them adds up the counts of all. A router on trial is loaded
    and tried by each.

    Args:
        router: A saved router: its folder, the name of a bundled one, or a hub id.
        settings: How it is served.
        tell: Gets the address and what is served there.

    Raises:
        UniRouterError: As there.
    """
    from unirouter_torch.serving.promotion import open_router
    from unirouter_torch.serving.server import listen, make_live_app, url_of

    live = make_live_app(open_router(router, settings.backend)[0], settings)[1]  # what is wrong shows here, and once
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with (
        tempfile.TemporaryDirectory(prefix="unirouter-metrics-") as folder,
        listen(settings.host, settings.port) as listener,
    ):
        os.environ[_METRICS_FOLDER] = folder
        config = _WorkerConfig(partial(_make_app, router, settings), factory=True, workers=settings.workers)
        supervisor, received = Multiprocess(config, sockets=[listener]), list[int]()

        def end(number: int, _: object) -> None:
            received.append(number)
            supervisor.should_exit.set()

        for number in before:
            signal.signal(number, end)
        tell(url_of(settings, listener), live)
        del live
        try:
            supervisor.run()
        finally:
            del os.environ[_METRICS_FOLDER]
            for number, handler in before.items():
                signal.signal(number, handler)
    if received:  # ends this process as it would have ended without workers
        signal.raise_signal(received[-1])


class _WorkerConfig(uvicorn.Config):
    """The settings of uvicorn for a worker; the protocol, a class made in it, travels to no other process."""

    def __init__(self, app: Callable[[], "ASGIApp"], **given: Any) -> None:
        from unirouter_torch.serving.server import UVICORN_SETTINGS

        super().__init__(app, **given, **UVICORN_SETTINGS, timeout_worker_healthcheck=_HEALTHCHECK_SECONDS)

    def load(self) -> None:
        """Make the application, in the worker."""
        from unirouter_torch.serving.connections import bounded_protocol
        from unirouter_torch.serving.server import most_connections

        self.http = bounded_protocol(most_connections())
        super().load()


def _make_app(router: str, settings: ServerSettings) -> "ASGIApp":
    import torch

    from unirouter_torch.serving.promotion import open_router
    from unirouter_torch.serving.server import make_live_app

    logging.basicConfig(format="%(asctime)s %(levelname)s %(process)d %(message)s")
    logging.getLogger("unirouter_torch").setLevel(logging.INFO)
    torch.set_num_threads(max(1, torch.get_num_threads() // settings.workers))
    try:
        loaded, place = open_router(router, settings.backend)
        app, _ = make_live_app(loaded.to("cuda") if torch.cuda.is_available() else loaded, settings, place)
    except UniRouterError as error:
        logging.getLogger(__name__).error("%s", error)
        sys.exit(STARTUP_FAILURE)  # by which the others end too, instead of one try after another
    return app
