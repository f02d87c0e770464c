"""The application that a server runs: endpoints, key, errors, and what goes on beside them."""

import asyncio
import contextlib
import hmac
import logging
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unirouter_torch import __version__
from unirouter_torch.errors import DataError, PoolError, UniRouterError
from unirouter_torch.serving.batching import Batcher, BatchLimits, OverloadedError
from unirouter_torch.serving.bodies import Bodies
from unirouter_torch.serving.changes import Changes
from unirouter_torch.serving.endpoints import Endpoints
from unirouter_torch.serving.fork import ROUTER_HEADER, Fork
from unirouter_torch.serving.interface import add_changes, add_embeddings, add_endpoints, add_feedback
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.page import add_page, is_page
from unirouter_torch.serving.promotion import Promotion
from unirouter_torch.serving.refusals import CLIENT_GONE, RefusedError, refused_field
from unirouter_torch.serving.relay import LLM_HEADER, ClientGoneError, Relay
from unirouter_torch.serving.traffic_log import TrafficLog
from unirouter_torch.serving.trial import Trial
from unirouter_torch.serving.views import Views

_log = logging.getLogger(__name__)

REQUEST_ID_HEADER = b"x-request-id"
"""Header of every answer: that of the upstream, if it has one, else what the client sent, else a name of our own."""

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")

FOLLOW_SECONDS = 1.0
"""How often the server looks whether its files have changed."""


def make_app(
    live: LiveRouter,
    metrics: Metrics,
    *,
    fallbacks: int = 2,
    api_key: str = "",
    change_key: str = "",
    accept_feedback: bool = False,
    embeddings: bool = False,
    cors_origins: Sequence[str] = (),
    limits: BatchLimits | None = None,
    log: TrafficLog | None = None,
    trial: Trial | None = None,
    place: Path | None = None,
    takes_routers: bool = True,
) -> ASGIApp:
    """An ASGI application that serves a router; it follows the router's files while it runs.

    Args:
        live: The router and where its LLMs are asked.
        metrics: What is counted.
        fallbacks: How many further LLMs are asked when one fails, at least 0.
        api_key: What clients have to send; nothing when empty.
        change_key: What those send who may change the pool; nobody may when empty. It opens all else too.
        accept_feedback: Whether clients may add outcomes to the pool in the router's folder.
        embeddings: Whether clients may have embeddings by the router's encoder.
        cors_origins: Origins whose pages may ask from a browser; ``*`` for all.
        limits: How prompts come together.
        log: What is asked and told; none is kept when not given.
        trial: A second router beside it.
        place: Folder, or link to one, that the router was loaded from: another router there comes into service.
        takes_routers: Whether a request may bring another router into service; it reaches one process alone.

    Raises:
        ConfigError: The environment names a proxy or certificates that cannot be used.
    """
    batcher, relay = Batcher(live.router, metrics, limits), Relay(metrics)
    promotion = Promotion(live, batcher, metrics, trial=trial, place=place)
    endpoints = Endpoints(live, batcher, relay, metrics, fallbacks=fallbacks, log=log, watch=promotion.saw)

    @contextlib.asynccontextmanager
    async def beside(_: FastAPI) -> AsyncIterator[None]:
        work = [batcher.run(), _follow(live, batcher, promotion), *([] if trial is None else [trial.run()])]
        tasks = [asyncio.create_task(one) for one in work]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await relay.close()

    app = FastAPI(title="unirouter", version=__version__, lifespan=beside, docs_url=None, redoc_url=None)
    chooses: Endpoints | Fork = endpoints
    if trial is not None and trial.kind == "canary":
        canary = Endpoints(trial.live, trial.batcher, relay, metrics, fallbacks=fallbacks, log=log, watch=trial.decided)
        chooses = Fork(endpoints, canary, promotion)
    add_endpoints(app, chooses, endpoints, Views(live, batcher, metrics, allows_changes=bool(change_key)), promotion)
    if change_key:
        add_changes(app, Changes(live, batcher, promotion, change_key), takes_routers=takes_routers)
    if accept_feedback:
        add_feedback(app, endpoints)
    if embeddings:
        add_embeddings(app, endpoints)
    add_page(app)
    for kind in (UniRouterError, RequestValidationError, HTTPException, ClientGoneError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _refuse)
    front = _Front(app, metrics=metrics, keys=(api_key, change_key) if api_key else ())
    if not cors_origins:
        return front
    # before the key is looked at: a browser asks whether it may send one
    return CORSMiddleware(
        front,
        allow_origins=list(cors_origins),
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"],
        expose_headers=[LLM_HEADER, ROUTER_HEADER, REQUEST_ID_HEADER.decode(), "retry-after"],
    )


async def _follow(live: LiveRouter, batcher: Batcher, promotion: Promotion) -> None:
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        try:
            await promotion.follow()
            await batcher.between(live.follow)
            if promotion.trial is not None:
                await promotion.trial.follow()
        except OSError as error:  # as when no file can be opened; the next second is another try
            _log.error("the router's files cannot be read: %s", error)


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, ClientGoneError | ClientDisconnect):
        return Response(status_code=CLIENT_GONE)
    response = _refusal(error).response()
    if response.status_code == 405:  # the error knows the methods of one endpoint of a path, not of all
        fitting = [one for one in request.app.routes if one.matches(request.scope)[0] is not Match.NONE]
        response.headers["allow"] = ", ".join(sorted({method for one in fitting for method in one.methods}))
    return response


def _refusal(error: Exception) -> RefusedError:
    """What a client is told of an error."""
    match error:
        case RefusedError():
            return error
        case OverloadedError():
            return RefusedError(503, str(error), code="overloaded", retry_after=1)
        case PoolError() | DataError():
            return RefusedError(400, str(error))
        case UniRouterError():
            return RefusedError(500, str(error))
        case HTTPException():
            return RefusedError(error.status_code, error.detail, retry_after=1 if error.status_code == 503 else None)
        case RequestValidationError():
            first = error.errors()[0]
            if first["type"] == "json_invalid" or first["loc"] == ("body",):
                return RefusedError(400, "The body is no JSON object, or its Content-Type is not application/json.")
            got = None if first["type"] in ("missing", "extra_forbidden") else first["input"]
            return refused_field(first["loc"][1:], first["msg"], got)
    return RefusedError(500, "The server failed; its log says why.")


class _Front:
    """Checks the key, bounds the body and counts what is answered, before anything else."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, keys: Sequence[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._bodies = Bodies()
        self._expected = [f"Bearer {key}".encode() for key in keys if key]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        given_id = dict(scope["headers"]).get(REQUEST_ID_HEADER, b"")
        request_id = given_id if _REQUEST_ID.fullmatch(given_id) else uuid.uuid4().hex.encode()

        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if not any(name == REQUEST_ID_HEADER for name, _ in headers):  # an upstream may have given one
                    message["headers"] = [*headers, (REQUEST_ID_HEADER, request_id)]
                # only what matched an endpoint, so that nobody can fill the counts with names
                route = scope.get("route")
                endpoint = "other" if route is None else route.path
                self._metrics.requests.labels(endpoint, message["status"]).inc()
            await send(message)

        given = dict(scope["headers"]).get(b"authorization", b"")
        is_known = not self._expected or any(hmac.compare_digest(given, key) for key in self._expected)
        if not is_known and scope["path"] != "/health" and not is_page(scope["path"]):
            refused = RefusedError(401, "A key is needed: send Authorization: Bearer KEY.", code="invalid_api_key")
            await refused.response()(scope, receive, count_and_send)
            return
        try:
            with self._bodies.bounded(scope, receive) as receive_bounded:
                await self._app(scope, receive_bounded, count_and_send)
        except asyncio.CancelledError:  # nobody but an ending server cancels a request as a whole
            _log.warning("%s: cut off, as the server ends", scope["path"])
        except Exception:  # it has been answered; the connection stays open for the next request
            _log.exception("%s: failed, request %s", scope["path"], request_id.decode())
