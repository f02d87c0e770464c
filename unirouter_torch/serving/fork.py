"""Which of two routers a request goes to."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from starlette.responses import Response

from unirouter_torch.serving.endpoints import Endpoints
from unirouter_torch.serving.promotion import Promotion
from unirouter_torch.serving.replies import RouteReply
from unirouter_torch.serving.requests import RouteRequest
from unirouter_torch.serving.sessions import SESSION_HEADER

ROUTER_HEADER = "x-unirouter-router"
"""Header of an answer that says which router chose, ``serving`` or ``canary``, while there are two."""


class Fork:
    """Answers by the endpoints of the router in service, or by those of the canary for its share of the requests.

    Args:
        serving: Endpoints of the router in service.
        canary: Those of the one on trial.
        promotion: Knows whether the trial goes on.
    """

    def __init__(self, serving: Endpoints, canary: Endpoints, promotion: Promotion) -> None:
        self._serving = serving
        self._canary = canary
        self._promotion = promotion

    async def route(self, body: RouteRequest, request: Request, response: Response) -> RouteReply:
        """Choose an LLM for each prompt."""
        endpoints, name = self._of(request.headers.get(SESSION_HEADER))
        reply = await endpoints.route(body, request)
        response.headers[ROUTER_HEADER] = name
        return reply

    async def chat(self, request: Request) -> Response:
        """Send a chat to the LLM that the router chooses, or to the one that the request names."""
        return await self._relay(request, Endpoints.chat)

    async def responses(self, request: Request) -> Response:
        """Send a request of the Responses API there likewise."""
        return await self._relay(request, Endpoints.responses)

    async def _relay(self, request: Request, ask: Callable[[Endpoints, Request], Awaitable[Response]]) -> Response:
        key = request.headers.get(SESSION_HEADER)
        endpoints, name = self._of(key if key is not None else _user_of(await request.body()))
        answer = await ask(endpoints, request)
        answer.raw_headers.append((ROUTER_HEADER.encode(), name.encode()))
        return answer

    def _of(self, key: str | None) -> tuple[Endpoints, str]:
        trial = self._promotion.trial
        is_canary = trial is not None and trial.takes(key)
        return (self._canary, "canary") if is_canary else (self._serving, "serving")


def _user_of(body: bytes) -> str | None:
    """The user that a chat names, if it does."""
    try:
        fields: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    user = fields.get("user") if isinstance(fields, dict) else None
    return user if isinstance(user, str) and user else None
