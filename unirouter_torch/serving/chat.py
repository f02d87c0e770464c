"""A request of OpenAI's APIs to an LLM: what is read of it, and which LLMs may answer it, the best one first."""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.messages import LAST_USER, WHOLE, conversation_prompt
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.serving.prompt_queue import Decision
from unirouter_torch.serving.refusals import RefusedError, refused_field

ROUTER_MODEL = "unirouter"
"""Model name of the router at the server's cost weight; ``unirouter-0.3`` is the router at 0.3."""


def _expect(fits: Callable[[Any], bool], expected: str) -> AfterValidator:
    """A check of a field: pydantic's own strings refuse half a surrogate pair, which LLMs may take."""

    def check(value: Any) -> Any:
        if fits(value):
            return value
        raise PydanticCustomError("unfit", "expected {expected}", {"expected": expected})

    return AfterValidator(check)


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


_is_text = _expect(lambda value: value is None or isinstance(value, str), "text")
_TEXT = {"anyOf": [{"type": "string"}, {"type": "null"}]}
_OBJECTS: dict[str, Any] = {"type": "array", "items": {"type": "object"}, "minItems": 1}


class Fields(BaseModel):
    """What is read of any request to an LLM; all else is passed on as it came."""

    model_config = ConfigDict(validate_default=True)

    model: Annotated[
        Any,
        _expect(lambda value: isinstance(value, str) and bool(value), f"{ROUTER_MODEL!r} or the name of an LLM"),
        WithJsonSchema({"type": "string", "minLength": 1}),
    ] = None

    def conversation(self) -> Sequence[Any]:
        """What is asked, as messages, at least one."""
        raise NotImplementedError

    @property
    def continues(self) -> str | None:
        """The answer at an LLM that this goes on from; None where the request says all."""
        return None


class ChatFields(Fields):
    """What is read of a chat request."""

    model_config = ConfigDict(json_schema_extra={"required": ["model", "messages"]})

    messages: Annotated[Any, _expect(_are_objects, "a list of at least one message"), WithJsonSchema(_OBJECTS)] = None

    def conversation(self) -> Sequence[Any]:
        """The messages."""
        messages: list[Any] = self.messages
        return messages


class ResponsesFields(Fields):
    """What is read of a request of the Responses API."""

    model_config = ConfigDict(json_schema_extra={"required": ["model", "input"]})

    input: Annotated[
        Any,
        _expect(lambda value: isinstance(value, str) or _are_objects(value), "text, or a list of at least one item"),
        WithJsonSchema({"anyOf": [{"type": "string"}, _OBJECTS]}),
    ] = None
    instructions: Annotated[Any, _is_text, WithJsonSchema(_TEXT)] = None
    previous_response_id: Annotated[Any, _is_text, WithJsonSchema(_TEXT)] = None

    def conversation(self) -> Sequence[Any]:
        """The instructions, and the items as messages."""
        items = [{"role": "user", "content": self.input}] if isinstance(self.input, str) else self.input
        return [{"role": "system", "content": self.instructions}, *items] if self.instructions else items

    @property
    def continues(self) -> str | None:
        """The response that this goes on from."""
        response: str | None = self.previous_response_id
        return response


class ChatRequest(NamedTuple):
    """A request to an LLM.

    Attributes:
        before: All of it before the name of the model, as JSON; text takes less memory than the objects in it.
        after: All of it after that name.
        model: Name of an LLM, or of the router.
        prompt: The text that it is routed by.
        num_tokens: Length of the whole conversation, as ``count_tokens`` estimates it [tokens].
        continues: The answer at an LLM that it goes on from; None where it says all.
    """

    before: str
    after: str
    model: str
    prompt: str
    num_tokens: float
    continues: str | None

    def body_for(self, model: str, extra: Mapping[str, Any] | None = None) -> bytes:
        """The request for an LLM that goes by the name ``model`` at its endpoint; all else is as it came.

        Args:
            model: The name.
            extra: Fields that make the LLM what it is, such as a reasoning effort, in place of those of the client.
        """
        body = f"{self.before}{json.dumps(model)}{self.after}"
        return (json.dumps(json.loads(body) | extra) if extra else body).encode()


def read_chat(body: bytes, conversation: str = LAST_USER, kind: type[Fields] = ChatFields) -> ChatRequest:
    """Read a request to an LLM.

    Args:
        body: As it came.
        conversation: The rule by which its messages become the prompt: that of the router.
        kind: Its API.

    Raises:
        RefusedError: The body is no JSON object, holds a number that is not finite, or its model or messages are
            missing or malformed.
    """
    try:
        content = json.loads(body, parse_constant=_refuse_number)
    except (ValueError, RecursionError):
        raise RefusedError(400, "The body is no JSON.") from None
    if not isinstance(content, dict):
        raise RefusedError(400, "The body is no JSON object.")
    try:
        fields = kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise refused_field(first["loc"], first["msg"], first["input"]) from None
    before, after = _around_model(content)
    messages = fields.conversation()
    return ChatRequest(
        before=before,
        after=after,
        model=fields.model,
        prompt=conversation_prompt(messages, conversation),
        num_tokens=float(count_tokens([conversation_prompt(messages, WHOLE)])),
        continues=fields.continues,
    )


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
