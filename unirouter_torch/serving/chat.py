"""A chat request of OpenAI's API: what is read of it, and which LLMs may answer it, the best one first."""

import json
import math
from collections.abc import Collection
from typing import Any, NamedTuple, NoReturn

from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.serving.prompt_queue import Decision
from unirouter_torch.serving.refusals import RefusedError

ROUTER_MODEL = "unirouter"
"""Model name of the router at the server's cost weight; ``unirouter-0.3`` is the router at 0.3."""


class ChatRequest(NamedTuple):
    """A chat request.

    Attributes:
        before: All of it before the name of the model, as JSON; text takes less memory than the objects in it.
        after: All of it after that name.
        model: Name of an LLM, or of the router.
        prompt: The text that it is routed by.
    """

    before: str
    after: str
    model: str
    prompt: str

    def body_for(self, model: str) -> bytes:
        """The request for an LLM that goes by the name ``model`` at its endpoint; all else is as it came."""
        return f"{self.before}{json.dumps(model)}{self.after}".encode()


def read_chat(body: bytes) -> ChatRequest:
    """Read a chat request.

    The prompt is the text of the last message of the user, so that the calls of a tool that follow it stay with its
    LLM; of content in parts it is the text parts, a line each. Without such a message the last one counts.

    Raises:
        RefusedError: The body is no JSON object, holds a number that is not finite, or its model or messages are
            missing or malformed.
    """
    try:
        fields = json.loads(body, parse_constant=_refuse_number)
    except (ValueError, RecursionError):
        raise RefusedError(400, "The body is no JSON.") from None
    if not isinstance(fields, dict):
        raise RefusedError(400, "The body is no JSON object.")
    model, messages = fields.get("model"), fields.get("messages")
    if not isinstance(model, str) or not model:
        raise RefusedError(400, f"model: expected {ROUTER_MODEL!r} or the name of an LLM.", param="model")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise RefusedError(400, "messages: expected a list of at least one message.", param="messages")
    of_user = [message for message in messages if message.get("role") == "user"]
    before, after = _around_model(fields)
    prompt = _text_of((of_user or messages)[-1].get("content"))
    return ChatRequest(before=before, after=after, model=model, prompt=prompt)


def _around_model(fields: dict[str, Any]) -> tuple[str, str]:
    place = list(fields).index("model")
    try:
        parts = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in fields.items()]
    except ValueError:  # 1e999 is read as infinity
        _refuse_number("a number above 1.8e308")
    before, after = parts[:place], parts[place + 1 :]
    return "{" + ", ".join([*before, '"model": ']), ", ".join(["", *after]) + "}"


def _refuse_number(number: str) -> NoReturn:
    raise RefusedError(400, f"The body is no JSON: it holds {number}. Numbers have to be finite.")


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(text for text in texts if isinstance(text, str))


def asked_cost_weight(model: str) -> float | None:
    """The cost weight in a name of the router: 0.3 of ``unirouter-0.3``; None where there is none.

    Raises:
        RefusedError: What follows the name is no cost weight.
    """
    if model == ROUTER_MODEL:
        return None
    try:
        weight = float(model.removeprefix(f"{ROUTER_MODEL}-"))
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise RefusedError(
            404,
            f"model: {model!r} names no cost weight; expected a number of at least 0, as in {ROUTER_MODEL}-0.3.",
            param="model",
            code="model_not_found",
        )
    return weight


def order_of_llms(decision: Decision, reachable: Collection[str]) -> list[str]:
    """The LLMs that may answer, the chosen one first and then the next best ones by the rule."""
    (route,) = decision.routes
    return [llm for llm in route.ranking if llm in reachable]


def is_router(model: str) -> bool:
    """Whether a model of a request is the router, at some cost weight, and no LLM."""
    return model == ROUTER_MODEL or model.startswith(f"{ROUTER_MODEL}-")


def check_llm(model: str, pool: LLMPool, reachable: Collection[str]) -> None:
    """Refuse an LLM that cannot be asked.

    Raises:
        RefusedError: The pool does not hold it, or it has no upstream.
    """
    if model not in pool.names or model not in reachable:
        what = "has no upstream here" if model in pool.names else "is no LLM of the pool"
        message = f"model: {model!r} {what}. GET /v1/models lists what can be asked."
        raise RefusedError(404, message, param="model", code="model_not_found")
