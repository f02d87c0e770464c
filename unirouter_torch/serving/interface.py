"""The endpoints as the OpenAPI document describes them: paths, answers, and every status that can occur."""

from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response

from unirouter_torch.router.profile import LLMProfile
from unirouter_torch.serving.changes import Changes
from unirouter_torch.serving.chat import ChatFields, Fields, ResponsesFields
from unirouter_torch.serving.endpoints import Endpoints
from unirouter_torch.serving.fork import Fork
from unirouter_torch.serving.promotion import Promotion
from unirouter_torch.serving.replies import (
    ChangedReply,
    CurveReply,
    EmbeddingsReply,
    ErrorReply,
    ExplainReply,
    FeedbackReply,
    HealthReply,
    ModelFacts,
    ModelsReply,
    PoolReply,
    Revision,
    RouteReply,
    RouterReply,
    Sample,
)
from unirouter_torch.serving.views import Views

_STATUSES = {
    400: "The request is at fault; `param` names the field.",
    401: "The key of `--api-key-env` is missing or another one.",
    403: "The key of `--allow-changes` is missing or another one.",
    404: "There is none of that name.",
    408: "The body did not arrive in time.",
    413: "The body is too long.",
    415: "The body is not sent as application/json.",
    500: "The server failed; its log says why.",
    503: "Too much waits, or no LLM can be asked now; `Retry-After` says when to try again.",
}
_OF_ANY = (401, 500)
_OF_BODIES = (400, 408, 413, 503)
_OF_CHATS = {status: _STATUSES[status] for status in (400, 408, 413, 415, 503)} | {
    403: "The LLM refuses this request.",
    404: "The server has no upstreams, or the model is none of them.",
    422: "The LLM finds the request at fault; passed on.",
    429: "Every LLM that was asked is at its limit; `Retry-After` says when to try again.",
    502: "No LLM answered; the message names who failed how.",
}
_RELAYED: dict[str, Any] = {
    "description": "The LLM's own answer, byte for byte; `x-unirouter-llm` names the LLM.",
    "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": {}}},
    "headers": {"x-unirouter-llm": {"description": "Percent-encoded.", "schema": {"type": "string"}}},
}
_PASSED_ON: dict[str, Any] = {"description": "Another error of the LLM, passed on.", "content": {"*/*": {"schema": {}}}}


def add_endpoints(
    app: FastAPI, chooses: Endpoints | Fork, endpoints: Endpoints, views: Views, promotion: Promotion
) -> None:
    """The endpoints of every server.

    Args:
        app: Gets them.
        chooses: What chooses an LLM and relays chats.
        endpoints: Those of the router in service.
        views: What the page shows.
        promotion: Knows the routers.
    """
    app.add_api_route("/v1/route", chooses.route, methods=["POST"], **_gives(RouteReply, *_OF_BODIES))
    for path, chat, fields in (
        ("/v1/chat/completions", chooses.chat, ChatFields),
        ("/v1/responses", chooses.responses, ResponsesFields),
    ):
        app.add_api_route(path, chat, methods=["POST"], openapi_extra=_body_of(fields), **_relays())
    named: dict[str, Any] = {"methods": ["GET"], "response_model_exclude_unset": True}
    app.add_api_route("/v1/models", endpoints.models, **named, **_gives(ModelsReply))
    app.add_api_route("/v1/models/{name:path}", endpoints.model, **named, **_gives(ModelFacts, 404))
    health = _gives(HealthReply)
    del health["responses"][401]  # asks for no key
    app.add_api_route("/health", endpoints.health, methods=["GET"], **health)
    app.add_api_route("/health", endpoints.health, methods=["HEAD"], response_model=None, include_in_schema=False)
    metrics = _gives(None)
    metrics["responses"][200] = {"description": "For Prometheus.", "content": {"text/plain": {"schema": {}}}}
    app.add_api_route("/metrics", endpoints.metrics, methods=["GET"], response_class=Response, **metrics)
    app.add_api_route("/v1/explain", views.explain, methods=["POST"], **_gives(ExplainReply, *_OF_BODIES))
    app.add_api_route("/v1/pool", views.pool, methods=["GET"], **_gives(PoolReply))
    app.add_api_route("/v1/pool/profile", views.profile, methods=["GET"], **_gives(LLMProfile, 400))
    app.add_api_route("/v1/pool/history", views.history, methods=["GET"], **_gives(list[Revision]))
    app.add_api_route("/v1/curve", views.curve, methods=["GET"], **_gives(CurveReply))
    app.add_api_route("/v1/traffic", views.traffic, methods=["GET"], **_gives(dict[str, list[Sample]]))
    app.add_api_route("/v1/router", promotion.describe, methods=["GET"], **_gives(RouterReply))
    app.openapi = partial(_describe, app)  # type: ignore[method-assign]


def add_changes(app: FastAPI, changes: Changes, *, takes_routers: bool) -> None:
    """Changes of the pool, and of the router where a request may bring another one."""
    app.add_api_route("/v1/pool", changes.change, methods=["POST"], **_gives(ChangedReply, 403, *_OF_BODIES))
    if takes_routers:
        app.add_api_route("/v1/router", changes.promote, methods=["POST"], **_gives(RouterReply, 403, *_OF_BODIES))


def add_feedback(app: FastAPI, endpoints: Endpoints) -> None:
    """Outcomes in use for the pool."""
    app.add_api_route("/v1/feedback", endpoints.feedback, methods=["POST"], **_gives(FeedbackReply, *_OF_BODIES))


def add_embeddings(app: FastAPI, endpoints: Endpoints) -> None:
    """Embeddings by the router's encoder."""
    app.add_api_route("/v1/embeddings", endpoints.embeddings, methods=["POST"], **_gives(EmbeddingsReply, *_OF_BODIES))


def _gives(reply: Any, *statuses: int) -> dict[str, Any]:
    """What an endpoint answers; ``reply`` is None where that is no JSON of a form of ours."""
    refused = {status: {"model": ErrorReply, "description": _STATUSES[status]} for status in (*_OF_ANY, *statuses)}
    return {"response_model": reply, "response_description": "Done.", "responses": dict(sorted(refused.items()))}


def _relays() -> dict[str, Any]:
    found = _gives(None)
    refused = {status: {"model": ErrorReply, "description": meaning} for status, meaning in _OF_CHATS.items()}
    found["responses"] = dict(sorted((found["responses"] | refused | {200: _RELAYED}).items()))
    found["responses"] |= {"4XX": _PASSED_ON, "5XX": _PASSED_ON}
    return found


def _body_of(fields: type[Fields]) -> dict[str, Any]:
    """The body of a request that the endpoint reads by itself."""
    schema = fields.model_json_schema() | {"additionalProperties": True}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _describe(app: FastAPI) -> dict[str, Any]:
    """The document, without the errors of FastAPI: a field at fault is a 400 of ours."""
    if app.openapi_schema is None:
        found = FastAPI.openapi(app)
        for operation in (one for path in found["paths"].values() for one in path.values()):
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
        for name in ("HTTPValidationError", "ValidationError"):
            found["components"]["schemas"].pop(name, None)
    return app.openapi_schema or {}
