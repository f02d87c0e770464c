"""Bodies of requests to this server's own endpoints."""

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

    prompts: Annotated[
        list[PromptBody], Field(min_length=1, max_length=MOST_PROMPTS, description="Texts or conversations.")
    ]
    cost_weight: Annotated[
        float | None,
        Field(ge=0, allow_inf_nan=False, description="Error accepted to save one reference cost; else the server's."),
    ] = None
    latency_weight: Annotated[
        float | None, Field(ge=0, allow_inf_nan=False, description="What a second costs; else the server's.")
    ] = None
    caution: Annotated[
        float | None,
        Field(ge=0.5, lt=1, description="Count each cluster error as its upper bound of this probability."),
    ] = None
    llms: Annotated[
        list[LLMName] | None,
        Field(min_length=1, max_length=MOST_LLMS, description="LLMs that may be chosen; else those of the server."),
    ] = None


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
    half_life: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False, description="Outcomes after which one counts half; without it none fades."),
    ] = math.inf


class EmbeddingsRequest(BaseModel):
    """Texts to embed, as OpenAI's API has it; texts as tokens are refused, as the client cannot know ours."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: str | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
    model: Literal["unirouter"]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
