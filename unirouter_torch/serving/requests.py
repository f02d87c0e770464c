"""Bodies of requests to this server's own endpoints, and of their answers."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from unirouter_torch.messages import is_conversation

MOST_PROMPTS = 1024
"""Prompts of one request."""

MOST_LLMS = 10_000
"""LLMs that one request may name."""

LLMName = Annotated[str, Field(max_length=1000)]


def _check_prompt(value: Any) -> Any:
    if isinstance(value, str) or is_conversation(value):
        return value
    raise PydanticCustomError("prompt", "Input should be text, or a list of messages with role and content")


_MESSAGE = {"type": "object", "properties": {"role": {"type": "string"}}, "required": ["role"]}
PromptBody = Annotated[
    Any,
    AfterValidator(_check_prompt),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": _MESSAGE, "minItems": 1}]}),
]
"""A text, or a conversation; checked here and not by a model, as content of any form and depth is let through."""


class RouteRequest(BaseModel):
    """Prompts to choose an LLM for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    prompts: Annotated[list[PromptBody], Field(min_length=1, max_length=MOST_PROMPTS)]
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
    prompt: PromptBody
    score: Annotated[float, Field(ge=0, le=1)]


class FeedbackRequest(BaseModel):
    """Outcomes in use, the oldest first."""

    model_config = ConfigDict(extra="forbid", strict=True)

    outcomes: Annotated[list[Outcome], Field(min_length=1, max_length=MOST_PROMPTS)]
    half_life: Annotated[float, Field(gt=0, allow_inf_nan=False)] = math.inf


class EmbeddingsRequest(BaseModel):
    """Texts to embed, as OpenAI's API has it; texts as tokens are refused, as the client cannot know ours."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: str | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
    model: Literal["unirouter"]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
