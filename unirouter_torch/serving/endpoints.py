"""What each endpoint does."""

import math
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from unirouter_torch.errors import PoolError
from unirouter_torch.serving.batching import Batcher
from unirouter_torch.serving.chat import (
    ROUTER_MODEL,
    asked_cost_weight,
    check_llm,
    is_router,
    order_of_llms,
    read_chat,
)
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import TEXT_FORMAT, Metrics
from unirouter_torch.serving.prompt_queue import Decision
from unirouter_torch.serving.refusals import RefusedError
from unirouter_torch.serving.relay import Relay, unless_gone

MOST_PROMPTS = 1024
"""Prompts of one request."""

MOST_LLMS = 10_000
"""LLMs that one request may name."""

LLMName = Annotated[str, Field(max_length=1000)]


class RouteRequest(BaseModel):
    """Prompts to choose an LLM for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompts: Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
    cost_weight: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    latency_weight: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    caution: Annotated[float | None, Field(ge=0.5, lt=1)] = None
    llms: Annotated[list[LLMName] | None, Field(min_length=1, max_length=MOST_LLMS)] = None


class OneRoute(BaseModel):
    """Where one prompt goes, and why."""

    llm: str
    estimated_error: dict[str, float]
    cost: dict[str, float]


class RouteReply(BaseModel):
    """One route for each prompt, in order, and what was counted."""

    routes: list[OneRoute]
    cost_weight: float
    reference_cost: float
    cost_unit: str


class Outcome(BaseModel):
    """How well an LLM answered a prompt."""

    model_config = ConfigDict(extra="forbid", strict=True)

    llm: LLMName
    prompt: str
    score: Annotated[float, Field(ge=0, le=1)]


class FeedbackRequest(BaseModel):
    """Outcomes in use, the oldest first."""

    model_config = ConfigDict(extra="forbid", strict=True)

    outcomes: Annotated[list[Outcome], Field(min_length=1, max_length=MOST_PROMPTS)]
    half_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] = math.inf


class Endpoints:
    """The endpoints, over one router.

    Args:
        live: The router and where its LLMs are asked.
        batcher: Routes with it.
        relay: Asks its LLMs.
        metrics: What is counted.
        fallbacks: How many further LLMs are asked when one fails, at least 0.
    """

    def __init__(
        self,
        live: LiveRouter,
        batcher: Batcher,
        relay: Relay,
        metrics: Metrics,
        *,
        fallbacks: int,
    ) -> None:
        self._live = live
        self._batcher = batcher
        self._relay = relay
        self._metrics = metrics
        self._fallbacks = fallbacks

    async def route(self, body: RouteRequest, request: Request) -> RouteReply:
        """Choose an LLM for each prompt."""
        for llm in body.llms or ():
            self._live.router.pool.find(llm)
        routing = self._route(request, body.prompts, **body.model_dump(exclude={"prompts"}))
        decision = await unless_gone(request.receive, routing)
        pool = decision.chooser.pool
        routes = [OneRoute(llm=one.llm, estimated_error=one.estimated_error, cost=one.cost) for one in decision.routes]
        return RouteReply(
            routes=routes,
            cost_weight=decision.chooser.cost_weight,
            reference_cost=pool.reference_cost,
            cost_unit=pool.cost_unit,
        )

    async def _route(self, request: Request, prompts: list[str], **asked: Any) -> Decision:
        """Choose, by the server's own options where a request has none."""
        given = {name: value for name, value in asked.items() if value is not None}
        options = replace(self._live.defaults, **given)
        client = "" if request.client is None else request.client.host
        return await self._batcher.route(prompts, options.cost_weight, client=client, **options.choice)

    async def chat(self, request: Request) -> Response:
        """Send a chat to the LLM that the router chooses, or to the one that the request names."""
        if not self._live.upstreams:
            raise RefusedError(404, "This server only routes: it was started without upstreams. Use POST /v1/route.")
        if not request.headers.get("content-type", "").startswith("application/json"):
            # a page in a browser cannot send this to another site unasked, so none can spend the owner's money
            raise RefusedError(415, "Send the body as Content-Type: application/json.")
        body = await request.body()
        return await unless_gone(request.receive, self._answer(body, request))

    async def _answer(self, body: bytes, request: Request) -> Response:
        live, chat = self._live, read_chat(body)
        if is_router(chat.model):
            try:
                weight = asked_cost_weight(chat.model)
                decision = await self._route(request, [chat.prompt], cost_weight=weight, llms=live.open_to_chats)
            except PoolError as error:
                raise RefusedError(503, f"No LLM can be asked now ({error}).", code="no_llm") from None
            llms = self._relay.in_service(order_of_llms(decision, live.open_to_chats))[: self._fallbacks + 1]
        else:
            check_llm(chat.model, live.router.pool, live.reachable)
            llms = [chat.model]
        return await self._relay.ask(llms, live.upstreams, chat, request.headers)

    async def feedback(self, body: FeedbackRequest) -> JSONResponse:
        """Add outcomes in use to the pool, and say which LLMs err more or less than estimated."""
        outcomes = [(one.llm, one.prompt, one.score) for one in body.outcomes]
        tests = await self._batcher.between(partial(self._live.observe, outcomes, body.half_life))
        drift = {
            llm: {"outcomes": test.num_prompts, "evidence": test.most_evidence, "alarm": test.has_drifted}
            for llm, test in tests.items()
        }
        return JSONResponse({"drift": drift})

    async def models(self) -> JSONResponse:
        """What a chat may name as its model."""
        reachable = self._live.reachable
        names = [ROUTER_MODEL, *reachable] if reachable else []
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "unirouter_torch"} for name in names]
        return JSONResponse({"object": "list", "data": data})

    async def health(self) -> JSONResponse:
        """That the server is there, and with which pool."""
        return JSONResponse({"status": "ok", "llms": int(self._live.router.pool.available.sum())})

    async def metrics(self) -> Response:
        """What was counted, for Prometheus."""
        return Response(self._metrics.text(), media_type=TEXT_FORMAT)
