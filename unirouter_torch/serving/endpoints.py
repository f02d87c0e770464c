"""What each endpoint does."""

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from fastapi import Request
from starlette.responses import Response
from torch import Tensor

from unirouter_torch.config.choice import WeightedChoiceOptions
from unirouter_torch.errors import PoolError
from unirouter_torch.routing.pooled_llm import PooledLLM
from unirouter_torch.serving.batching import Batcher
from unirouter_torch.serving.chat import (
    ROUTER_MODEL,
    ChatFields,
    ChatRequest,
    Fields,
    ResponsesFields,
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
from unirouter_torch.serving.replies import (
    DriftFacts,
    Embedding,
    EmbeddingsReply,
    FeedbackReply,
    HealthReply,
    ModelFacts,
    ModelsReply,
    OneRoute,
    RouteReply,
    Usage,
)
from unirouter_torch.serving.requests import EmbeddingsRequest, FeedbackRequest, RouteRequest
from unirouter_torch.serving.sessions import SESSION_HEADER, Sessions, session_of
from unirouter_torch.serving.traffic_log import TrafficLog

Watch: TypeAlias = Callable[[Sequence[str], WeightedChoiceOptions, Decision], None]
"""Sees prompts, how an LLM was to be chosen for them, and the decision."""


class Endpoints:
    """The endpoints, over one router.

    Args:
        live: The router and where its LLMs are asked.
        batcher: Routes with it.
        relay: Asks its LLMs.
        metrics: What is counted.
        fallbacks: How many further LLMs are asked when one fails, at least 0.
        log: What is asked and told; none is kept when not given.
        watch: Sees every decision.
    """

    def __init__(
        self,
        live: LiveRouter,
        batcher: Batcher,
        relay: Relay,
        metrics: Metrics,
        *,
        fallbacks: int,
        log: TrafficLog | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._live = live
        self._log = log
        self._batcher = batcher
        self._relay = relay
        self._metrics = metrics
        self._fallbacks = fallbacks
        self._sessions = Sessions()
        self._watch = watch

    async def route(self, body: RouteRequest, request: Request) -> RouteReply:
        """Choose an LLM for each prompt."""
        for llm in body.llms or ():
            self._live.router.pool.find(llm)
        texts = self._live.router.texts(body.prompts)
        routing = self._route(request, texts, **body.model_dump(exclude={"prompts"}))
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
        decision = await self._batcher.route(prompts, options.cost_weight, client=client, **options.choice)
        if self._log is not None:
            weight = decision.chooser.cost_weight
            for prompt, route in zip(prompts, decision.routes, strict=True):
                facts = {"cost": route.cost[route.llm], "cost_weight": weight, "estimated_error": route.estimated_error}
                self._log.write("route", prompt, llm=route.llm, **facts)
        if self._watch is not None:
            self._watch(prompts, options, decision)
        return decision

    async def chat(self, request: Request) -> Response:
        """Send a chat to the LLM that the router chooses, or to the one that the request names."""
        return await self._relayed(request, "chat/completions", ChatFields)

    async def responses(self, request: Request) -> Response:
        """The same for OpenAI's Responses API, of LLMs whose upstreams have it."""
        return await self._relayed(request, "responses", ResponsesFields)

    async def _relayed(self, request: Request, path: str, kind: type[Fields]) -> Response:
        if not self._live.upstreams:
            raise RefusedError(404, "This server only routes: it was started without upstreams. Use POST /v1/route.")
        if not request.headers.get("content-type", "").startswith("application/json"):
            # a page in a browser cannot send this to another site unasked, so none can spend the owner's money
            raise RefusedError(415, "Send the body as Content-Type: application/json.")
        body = await request.body()
        return await unless_gone(request.receive, self._answer(body, request, path, kind))

    async def _answer(self, body: bytes, request: Request, path: str, kind: type[Fields]) -> Response:
        live, session = self._live, session_of(request.headers)
        chat = read_chat(body, live.router.conversation, kind)
        if is_router(chat.model):
            llms = await self._llms_for(chat, request, session)
        else:
            check_llm(chat.model, live.router.pool, live.reachable)
            llms = [chat.model]
        since = time.monotonic()
        answer = await self._relay.ask(llms, live.upstreams, chat, request.headers, path)
        if self._log is not None:
            self._log.write("answer", chat.prompt, llm=answer.llm, seconds=time.monotonic() - since)
        self._sessions.answered(session, answer.llm)
        return answer

    async def _llms_for(self, chat: ChatRequest, request: Request, session: str | None) -> list[str]:
        """The LLMs to ask, in order: by the rule, or first the one that the session or its state is with."""
        open_to_chats = self._live.open_to_chats
        if chat.continues is not None:
            own = self._sessions.llm_of(session)
            if own is None or own not in open_to_chats:
                raise RefusedError(
                    400,
                    "previous_response_id: what it names is kept by the LLM that answered. Send the "
                    f"{SESSION_HEADER} of that request, or name the LLM as model.",
                    param="previous_response_id",
                )
            return [own]
        pool = self._live.router.pool
        fitting = [llm for llm in open_to_chats if chat.num_tokens <= (pool[llm].context_tokens or chat.num_tokens)]
        weight = asked_cost_weight(chat.model)
        try:
            # where the whole conversation fits none, its last message may, and the LLM says so itself
            decision = await self._route(request, [chat.prompt], cost_weight=weight, llms=fitting or open_to_chats)
        except PoolError as error:
            raise RefusedError(503, f"No LLM can be asked now ({error}).", code="no_llm") from None
        (route,) = decision.routes
        llms = self._sessions.order(session, order_of_llms(decision, open_to_chats), route.estimated_error)
        return self._relay.in_service(llms)[: self._fallbacks + 1]

    async def embeddings(self, body: EmbeddingsRequest, request: Request) -> EmbeddingsReply:
        """Embeddings of texts by the encoder of the router."""
        encoder = self._live.router.encoder
        texts = [body.input] if isinstance(body.input, str) else body.input
        if body.dimensions not in (None, encoder.dim):
            raise RefusedError(400, f"dimensions: got {body.dimensions}, expected {encoder.dim}.", param="dimensions")

        def embed(text: str) -> tuple[Tensor, int]:
            return encoder.embed([text])[0], len(encoder.tokenize_rows([text])[0])

        async def embed_all() -> list[tuple[Tensor, int]]:
            # one at a time, so that prompts of others are routed in between
            return [await self._batcher.between(partial(embed, text)) for text in texts]

        found = await unless_gone(request.receive, embed_all())
        data = [
            Embedding(index=index, embedding=_written(vector, body.encoding_format))
            for index, (vector, _) in enumerate(found)
        ]
        num_tokens = sum(length for _, length in found)
        return EmbeddingsReply(data=data, usage=Usage(prompt_tokens=num_tokens, total_tokens=num_tokens))

    async def feedback(self, body: FeedbackRequest) -> FeedbackReply:
        """Add outcomes in use to the pool, and say which LLMs err more or less than estimated."""
        texts = self._live.router.texts([one.prompt for one in body.outcomes])
        outcomes = [(one.llm, text, one.score) for one, text in zip(body.outcomes, texts, strict=True)]
        tests = await self._batcher.between(partial(self._live.observe, outcomes, body.half_life))
        if self._log is not None:
            for llm, prompt, score in outcomes:
                self._log.write("feedback", prompt, llm=llm, score=score, cost=self._live.router.pool[llm].cost)
        drift = {
            llm: DriftFacts(outcomes=test.num_prompts, evidence=test.most_evidence, alarm=test.has_drifted)
            for llm, test in tests.items()
        }
        return FeedbackReply(drift=drift)

    async def models(self) -> ModelsReply:
        """What a chat may name as its model, and what is known of each."""
        return ModelsReply(object="list", data=self._models())

    async def model(self, name: str) -> ModelFacts:
        """One of them."""
        for one in self._models():
            if one.id == name:
                return one
        message = f"model: {name!r} is none. GET /v1/models lists what can be asked."
        raise RefusedError(404, message, param="model", code="model_not_found")

    def _models(self) -> list[ModelFacts]:
        pool, reachable = self._live.router.pool, self._live.reachable
        if not reachable:
            return []
        return [
            _named(ROUTER_MODEL),
            *(_named(llm, **_facts(pool[llm]), cost_unit=pool.cost_unit) for llm in reachable),
        ]

    async def health(self) -> HealthReply:
        """That the server is there, and with which pool."""
        return HealthReply(status="ok", llms=int(self._live.router.pool.available.sum()))

    async def metrics(self) -> Response:
        """What was counted, for Prometheus."""
        return Response(self._metrics.text(), media_type=TEXT_FORMAT)


def _named(name: str, **facts: Any) -> ModelFacts:
    return ModelFacts(id=name, object="model", created=0, owned_by="unirouter_torch", **facts)


def _facts(llm: PooledLLM) -> dict[str, Any]:
    """What is told of an LLM beside its name; prices are those of one token."""
    prices = llm.token_cost
    return {
        "available": llm.is_available,
        "cost": llm.cost,
        "price_in": None if prices is None else prices.price_in,
        "price_out": None if prices is None else prices.price_out,
        "context_tokens": llm.context_tokens,
    }


def _written(vector: Tensor, form: str) -> Any:
    """A vector as JSON: numbers, or float32 in little-endian order as Base64."""
    return vector.tolist() if form == "float" else base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
