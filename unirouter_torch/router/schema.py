"""What a saved router's files must hold: names, types, shapes and ranges, checked before anything is made of them."""

# over 300 lines: a class for each file and a rule for each tensor, read as one list

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError
from torch import Tensor

from unirouter_torch.config.router import KeptPart
from unirouter_torch.errors import ArtifactError, first_problem

Schema = TypeVar("Schema", bound=BaseModel)

_ROUNDING = 1e-3
"""How far sums of float32 may be off, relative to them."""

_MOST_PROMPTS = 1e9
"""No cluster has more weight than so many prompts."""

_LARGEST_LOGARITHM = 60.0

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    # what a later version adds is no fault of a file; what this one reads has to be right
    model_config = ConfigDict(strict=True, extra="ignore")


class EncoderReference(_Strict):
    """The encoder that a router refers to."""

    name: Annotated[str, Field(min_length=1)]
    sha256: Digest


class ReadingSettings(_Strict):
    """How prompts are read: part of ``router.json`` since ``encoder.keep`` and ``encoder.conversation`` exist."""

    max_length: Annotated[int, Field(ge=1)] | None
    keep: KeptPart
    conversation: Annotated[str, Field(max_length=50)]


class RouterSettings(_Strict):
    """``router.json``."""

    encoder: EncoderReference | None = None
    reading: ReadingSettings | None = None
    about: dict[str, Any]


class CalibrationPrompt(_Strict):
    """An entry of ``calibration_prompts.json``."""

    prompt_id: Annotated[str, Field(min_length=1)]
    prompt: Annotated[str, Field(min_length=1)]


class CalibrationFile(RootModel[list[CalibrationPrompt]]):
    """``calibration_prompts.json``."""

    model_config = ConfigDict(strict=True)


class WatchedLLM(_Strict):
    """An entry of ``pool.drift``."""

    llm: str
    num_prompts: Annotated[int, Field(ge=0)]
    most_evidence: Amount


class LatencySettings(_Strict):
    """An entry of ``pool.latency``."""

    seconds: Amount = 0.0
    seconds_per_token: Amount = 0.0


class TargetSettings(_Strict):
    """``pool.target``."""

    kind: Literal["cost", "quality", "saving"]
    value: Amount
    latency_weight: Amount = 0.0


class PoolSettings(_Strict):
    """The settings of a pool beside its tensors."""

    names: list[str]
    disabled: list[str] = []
    drift: list[WatchedLLM] = []
    token_prices: dict[str, Annotated[list[Amount], Field(min_length=2, max_length=2)]] = {}
    latency: dict[str, LatencySettings] = {}
    context_tokens: dict[str, Annotated[int, Field(ge=1)]] = {}
    target: TargetSettings | None = None
    cost_unit: str
    cost_is_estimate: bool
    reference_cost: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ChangeSettings(_Strict):
    """How a revision came about."""

    what: str
    who: str = ""
    when: str = ""
    data: str = ""
    data_sha256: str = ""
    restores: Annotated[int, Field(ge=0)] | None = None


class RevisionSettings(_Strict):
    """The metadata of a revision of the pool."""

    pool: PoolSettings
    change: ChangeSettings
    head_sha256: Digest


class TensorRule(NamedTuple):
    """What a tensor must be.

    Attributes:
        axes: Name of each axis, or its length; axes of one name are equally long.
        dtype: Type of its values.
        least: Least value; all values are finite.
        most: Greatest value.
    """

    axes: tuple[str | int, ...]
    dtype: torch.dtype = torch.float32
    least: float = -float("inf")
    most: float = float("inf")


_HEAD = {
    "head.linear.weight": TensorRule(("cluster", "dim")),
    "head.linear.bias": TensorRule(("cluster",)),
    "head.difficulty": TensorRule(("cluster",)),
    "head.log_shrinkage": TensorRule((), least=-_LARGEST_LOGARITHM, most=_LARGEST_LOGARITHM),
}
_FAR = {"head.far": TensorRule((2,))}
_CALIBRATION = {"calibration.cluster_probability": TensorRule(("calibration", "all_clusters"), least=0.0, most=1.001)}
_ADJUSTMENT = {name: TensorRule(("calibration",)) for name in ("calibration.offset", "calibration.slope")}
_DIFFICULTY = {
    "calibration.difficulty": TensorRule(("calibration",)),
    "calibration.ability_spread": TensorRule((), least=0.0),
}
_POOL = {
    "cost": TensorRule(("llm",), torch.float64, least=0.0),
    "error_sum": TensorRule(("llm", "all_clusters"), least=0.0, most=_MOST_PROMPTS),
    "weight_sum": TensorRule(("llm", "all_clusters"), least=0.0, most=_MOST_PROMPTS),
}
_DRIFT = {
    "drift.wealth": TensorRule(("watched", 2, 4), torch.float64, least=0.0),
    "drift.error_sum": TensorRule(("watched", "all_clusters"), least=0.0, most=_MOST_PROMPTS),
    "drift.weight_sum": TensorRule(("watched", "all_clusters"), least=0.0, most=_MOST_PROMPTS),
}
_TOKENS = {
    "token_sum": TensorRule(("metered", "all_clusters"), least=0.0),
    "token_weight_sum": TensorRule(("metered", "all_clusters"), least=0.0, most=_MOST_PROMPTS),
}


def read_as(schema: type[Schema], content: object, place: str) -> Schema:
    """Content of a file as what it must be.

    Args:
        schema: What it must be.
        content: What was read.
        place: Where it was read, for the message.

    Raises:
        ArtifactError: It is something else; names the field.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise ArtifactError(f"{place}: {first_problem(error)}. Save it again.") from None


def check_router_tensors(tensors: Mapping[str, Tensor], prompts: Sequence[CalibrationPrompt]) -> None:
    """Check ``router.safetensors``, but for the pool that format version 1 has in it.

    Args:
        tensors: Its content.
        prompts: The calibration prompts.

    Raises:
        ArtifactError: A tensor is missing, unknown, of another type or shape, or a value is out of range; or a prompt
            id stands twice.
    """
    place = "router.safetensors"
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith("pool.")}
    sizes = check_head(own)
    sizes |= {"calibration": len(prompts), "all_clusters": sizes["cluster"] * (2 if "head.far" in own else 1)}
    rules = _HEAD | _FAR | _CALIBRATION | _ADJUSTMENT | _DIFFICULTY
    unknown = sorted(own.keys() - rules.keys())
    if unknown:
        raise ArtifactError(f"{place}: unknown tensor {unknown[0]!r}; expected {', '.join(rules)}. Save it again.")
    _check(place, own, _CALIBRATION, sizes)
    for optional in (_ADJUSTMENT, _DIFFICULTY):
        if optional.keys() & own.keys():
            _check(place, own, optional, sizes)
    probability = own["calibration.cluster_probability"]
    if not (probability.double().sum(-1) - 1).abs().le(_ROUNDING).all():
        raise ArtifactError(f"{place}: calibration.cluster_probability: a row does not sum to 1. Save it again.")
    if len({prompt.prompt_id for prompt in prompts}) < len(prompts):
        raise ArtifactError("calibration_prompts.json: a prompt_id stands twice. Save it again.")


def check_head(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Check the tensors of the head.

    Args:
        tensors: Content of ``router.safetensors``.

    Returns:
        Length of the axes ``cluster`` and ``dim``.

    Raises:
        ArtifactError: As :func:`check_router_tensors`.
    """
    sizes: dict[str, int] = {}
    _check("router.safetensors", tensors, _HEAD, sizes)
    if "head.far" in tensors:
        _check("router.safetensors", tensors, _FAR, sizes)
        if not tensors["head.far"][1] > 0:
            raise ArtifactError("router.safetensors: head.far: the width is not positive. Save it again.")
    return sizes


def check_pool_tensors(place: str, tensors: Mapping[str, Tensor], settings: PoolSettings) -> None:
    """Check the tensors of a pool against its settings.

    Args:
        place: Where they were read, for the message.
        tensors: Content of a revision.
        settings: Its settings.

    Raises:
        ArtifactError: As :func:`check_router_tensors`; or more errors were made than prompts answered.
    """
    sizes = {"llm": len(settings.names), "watched": len(settings.drift), "metered": len(settings.token_prices)}
    of_some = (settings.disabled, settings.token_prices, settings.latency, settings.context_tokens)
    named = {llm.llm for llm in settings.drift}.union(*of_some)
    strangers = sorted(named.difference(settings.names))
    if strangers:
        raise ArtifactError(f"{place}: the pool has no LLM named {strangers[0]!r}. Save it again.")
    groups = [(_POOL, "error_sum", "weight_sum")]
    if settings.drift:
        groups.append((_DRIFT, "drift.error_sum", "drift.weight_sum"))
    if settings.token_prices:
        groups.append((_TOKENS, "token_weight_sum", "token_weight_sum"))
    for rules, error, weight in groups:
        _check(place, tensors, rules, sizes)
        if not (tensors[error] <= tensors[weight] * (1 + _ROUNDING) + _ROUNDING).all():
            raise ArtifactError(f"{place}: {error}: more errors than prompts. Save it again.")


def check_clusters(place: str, num_clusters: int, head_clusters: int) -> None:
    """Refuse sums by other clusters than those of the head.

    Raises:
        ArtifactError: They are.
    """
    if num_clusters != head_clusters:
        raise ArtifactError(
            f"{place}: the sums of the pool have {num_clusters} clusters, the head has {head_clusters}. Save it again."
        )


def _check(place: str, tensors: Mapping[str, Tensor], rules: Mapping[str, TensorRule], sizes: dict[str, int]) -> None:
    """Check some tensors; ``sizes`` has the length of axes that are known, and gets those of the others."""
    for name, rule in rules.items():
        tensor = tensors.get(name)
        if tensor is None:
            raise ArtifactError(f"{place}: the tensor {name} is missing. Save it again.")
        shape = list(tensor.shape)
        expected = [axis if isinstance(axis, int) else sizes.get(axis, axis) for axis in rule.axes]
        fits = len(shape) == len(expected) and all(
            isinstance(wanted, str) or wanted == length for wanted, length in zip(expected, shape, strict=True)
        )
        if not fits or tensor.dtype != rule.dtype:
            raise ArtifactError(
                f"{place}: {name}: got shape {shape} of {tensor.dtype}, expected {expected} of {rule.dtype}. "
                "Save it again."
            )
        sizes |= {axis: length for axis, length in zip(rule.axes, shape, strict=True) if isinstance(axis, str)}
        in_range = tensor.isfinite() & (tensor >= rule.least) & (tensor <= rule.most)
        if not in_range.all():
            found = tensor[~in_range].flatten()[0].item()
            raise ArtifactError(
                f"{place}: {name}: got {found:g}, expected finite numbers from {rule.least:g} to {rule.most:g}. "
                "Save it again."
            )
