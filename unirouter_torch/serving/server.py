"""One server process: from a saved router to its end by a signal."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from unirouter_torch.errors import ConfigError, PoolError
from unirouter_torch.router.router import Router
from unirouter_torch.serving.app import make_app
from unirouter_torch.serving.connections import bounded_protocol
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.promotion import load_beside
from unirouter_torch.serving.settings import ServerSettings
from unirouter_torch.serving.traffic_log import open_traffic_log
from unirouter_torch.serving.trial import Trial, TrialKind
from unirouter_torch.serving.upstreams import key_in

MOST_CONNECTIONS = 1000
"""Connections of clients at one time, where the system allows as many files."""

ACCEPTED_AT_ONCE = 256
"""Connections that are accepted before the first of them is counted."""

_OTHER_FILES = 100

GRACE_SECONDS = 30
"""How long requests that are running may take to end after a signal."""


UVICORN_SETTINGS: dict[str, Any] = {
    "ws": "none",
    "backlog": ACCEPTED_AT_ONCE,
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "timeout_graceful_shutdown": GRACE_SECONDS,
}
"""How uvicorn runs the application, whoever runs uvicorn."""


def serve(
    router: Router, settings: ServerSettings, tell: Callable[[str, LiveRouter], None], place: Path | None = None
) -> None:
    """Serve a router until SIGTERM or SIGINT; requests that are running end first, then the signal takes effect.

    Args:
        router: The router.
        settings: How it is served.
        tell: Gets the address and what is served there, as soon as clients can connect.
        place: Folder, or link to one, that the router was loaded from: another router there comes into service.

    Raises:
        ConfigError: The address cannot be listened on, or the upstream file is at fault.
        PoolError: As :class:`LiveRouter`, or feedback is accepted for a router that lies in no folder.
    """
    app, live = make_live_app(router, settings, place)
    with listen(settings.host, settings.port) as listener:
        tell(url_of(settings, listener), live)
        server_of(app).run(sockets=[listener])


def make_live_app(router: Router, settings: ServerSettings, place: Path | None = None) -> tuple[ASGIApp, LiveRouter]:
    """The application that serves a router, and what it serves.

    Args:
        router: The router.
        settings: How it is served.
        place: Folder, or link to one, that the router was loaded from.

    Raises:
        ConfigError: As :func:`serve`, like the other one.
        PoolError: As there.
    """
    if settings.accept_feedback and router.saved is None:
        raise PoolError("accept_feedback: the router lies in no folder of its own, where its pool could be kept.")
    if settings.allow_changes and router.saved is None:
        raise PoolError("allow_changes: the router lies in no folder of its own, where its pool could be kept.")
    metrics = Metrics()
    live = LiveRouter(router, metrics, defaults=settings, upstream_file=settings.upstreams)
    app = make_app(
        live,
        metrics,
        fallbacks=settings.fallbacks,
        api_key=key_in(settings.api_key_env, "api_key_env") if settings.api_key_env else "",
        change_key=key_in(settings.allow_changes, "allow_changes") if settings.allow_changes else "",
        accept_feedback=settings.accept_feedback,
        embeddings=settings.embeddings,
        log=open_traffic_log(settings.log_to, settings.redact),
        cors_origins=tuple(settings.cors_origin),
        trial=_trial(router, settings, metrics),
        place=place,
        takes_routers=settings.workers == 1,
    )
    router.cluster(["What is 17 + 25?"])  # the first call takes longer; no client shall wait for it
    return app, live


def url_of(settings: ServerSettings, listener: socket.socket) -> str:
    """The address of a server that listens."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listener.getsockname()[1]}"


def _trial(router: Router, settings: ServerSettings, metrics: Metrics) -> Trial | None:
    kind: TrialKind = "shadow" if settings.canary is None else "canary"
    folder = settings.canary or settings.shadow
    if folder is None:
        return None
    second = LiveRouter(load_beside(folder, router), Metrics(), defaults=settings, upstream_file=settings.upstreams)
    return Trial(kind, second, metrics, settings.share)


def server_of(app: ASGIApp) -> uvicorn.Server:
    """What runs an application; ``run(sockets=...)`` until a signal, or until its ``should_exit`` is set."""
    return uvicorn.Server(uvicorn.Config(app, http=bounded_protocol(most_connections()), **UVICORN_SETTINGS))


def most_connections() -> int:
    """Connections of clients that leave files enough for as many to upstreams and for all else.

    The soft limit of open files is raised to the hard one first, as servers do.
    """
    if sys.platform == "win32":  # knows no such limit
        return MOST_CONNECTIONS
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_CONNECTIONS + ACCEPTED_AT_ONCE + _OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(MOST_CONNECTIONS, (soft - ACCEPTED_AT_ONCE - _OTHER_FILES) // 2))


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for clients.

    Args:
        host: Address to listen on.
        port: Port; 0 for any that is free.

    Raises:
        ConfigError: The address is unknown or taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise ConfigError(f"host, port: cannot listen on {host}:{port} ({reason}).") from None
    # asyncio does not do this for sockets that it gets; without it an answer in two parts waits 40 ms for the first ACK
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
