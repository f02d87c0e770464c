"""What this server's own endpoints answer; the OpenAPI document and the reference are generated from it."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from unirouter_torch.router.explanation import Explanation
from unirouter_torch.router.pool_history import PoolChange
from unirouter_torch.routing.target import TargetKind


class Reply(BaseModel):
    """An answer or a part of one; a field that is not declared is a fault of this server."""

    model_config = ConfigDict(extra="forbid")


class ErrorFacts(Reply):
    """What is wrong, as OpenAI writes it."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = Field(description="The field of the request that it is about.")
    code: str | None = Field(description="Word for programs.")


class ErrorReply(Reply):
    """A request that was not served."""

    error: ErrorFacts


class OneRoute(Reply):
    """Where one prompt goes, and why."""

    llm: str
    estimated_error: dict[str, float]
    cost: dict[str, float]


class RouteReply(Reply):
    """One route for each prompt, in order, and what was counted."""

    routes: list[OneRoute]
    cost_weight: float
    reference_cost: float
    cost_unit: str


class ModelFacts(Reply):
    """What a chat may name as its model; the router has the first four fields alone."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    available: bool | None = None
    cost: float | None = Field(default=None, description="Cost of one call, without that of its tokens.")
    price_in: float | None = Field(default=None, description="Price of a token of the prompt.")
    price_out: float | None = Field(default=None, description="Price of a token of the answer.")
    context_tokens: int | None = None
    cost_unit: str | None = None


class ModelsReply(Reply):
    """All that a chat may name."""

    object: Literal["list"]
    data: list[ModelFacts]


class HealthReply(Reply):
    """That the server is there, and with which pool."""

    status: Literal["ok"]
    llms: int = Field(description="LLMs that are not disabled.")


class DriftFacts(Reply):
    """The test for drift of one LLM."""

    outcomes: int
    evidence: float
    alarm: bool


class FeedbackReply(Reply):
    """The test for drift of each LLM that has outcomes in the request."""

    drift: dict[str, DriftFacts]


class Embedding(Reply):
    """The embedding of one text: numbers, or float32 in little-endian order as Base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(Reply):
    """Length of what was embedded [tokens of the encoder]."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(Reply):
    """The embeddings of all texts, in order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: Literal["unirouter"] = "unirouter"
    usage: Usage


@dataclass(frozen=True, kw_only=True)
class ExplainedPrompt(Explanation):
    """An explanation, and the text that was routed."""

    text: str


class ExplainReply(Reply):
    """An explanation of each prompt, in order."""

    prompts: list[ExplainedPrompt]
    cost_weight: float
    reference_cost: float
    cost_unit: str


class DriftOfLLM(DriftFacts):
    """The test for drift of one LLM, and its direction."""

    is_worse: bool


class LLMFacts(Reply):
    """What is known of an LLM of the pool, and what it is expected to take."""

    llm: str
    outcomes: int
    error: float | None
    cost: float = Field(description="Mean over the calibration prompts.")
    cost_of_call: float
    price_in: float | None
    price_out: float | None
    latency: float | None
    latency_per_token: float | None
    context_tokens: int | None
    is_available: bool
    drift: DriftOfLLM | None
    traffic: list[float] = Field(description="Share of the calibration prompts at each of cost_weights.")
    is_reachable: bool


class PoolReply(Reply):
    """The LLMs in the order of the pool, and what the server does with them."""

    cost_unit: str
    cost_is_estimate: bool
    reference_cost: float
    llms: list[LLMFacts]
    cost_weights: list[float]
    cost_weight: float
    latency_weight: float
    knows_latency: bool
    has_chat: bool
    revision: int
    allows_changes: bool


@dataclass(frozen=True, kw_only=True)
class Revision(PoolChange):
    """A change of the pool, and the number of the revision that it made."""

    revision: int


class ChangedReply(Reply):
    """The revision that a change of the pool made."""

    revision: int
    what: str


class CurvePoint(Reply):
    """A point of the curve."""

    cost_weight: float
    cost: float
    quality: float


class LLMPoint(Reply):
    """A single LLM for all prompts."""

    llm: str
    cost: float
    quality: float
    is_available: bool


class TargetFacts(Reply):
    """What routing shall give."""

    kind: TargetKind
    value: float


class CurveReply(Reply):
    """Expected quality against expected cost on the calibration prompts."""

    points: list[CurvePoint]
    llms: list[LLMPoint]
    in_force: CurvePoint
    target: TargetFacts | None
    prompts: int
    cost_unit: str
    cost_is_estimate: bool


class Sample(BaseModel):
    """A count; its labels are further fields, such as ``llm``."""

    model_config = ConfigDict(extra="allow")

    name: str
    value: float


class TrialFacts(Reply):
    """The router on trial."""

    kind: Literal["shadow", "canary"]
    router: str
    share: float


class RouterReply(Reply):
    """Names of the folders of the router in service, of the one before and of the one on trial."""

    router: str
    before: str | None
    trial: TrialFacts | None
