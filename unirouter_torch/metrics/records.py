"""What is kept of a trial, and the one codec between these records and their JSON.

Numbers are kept as JSON values, so that a trial reads the same whether it was computed now or long ago.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from unirouter_torch.errors import DataError, first_problem
from unirouter_torch.metrics.stages import StageCost


class Record:
    """A frozen dataclass that is kept as the JSON form of its fields."""

    def to_json(self) -> dict[str, Any]:
        """JSON values by field; the figures of a method are beside what it chose."""
        return asdict(self, dict_factory=_plain)  # type: ignore[call-overload, no-any-return]


RecordT = TypeVar("RecordT", bound=Record)

_adapter_of = cache(TypeAdapter)


def record_of(kind: type[RecordT], values: dict[str, Any], path: Path) -> RecordT:
    """The record of some JSON values.

    Args:
        kind: Which record.
        values: What its ``to_json`` gave; keys that are not known are left out.
        path: Where they were read, for the error.

    Raises:
        DataError: A value is missing or of another type.
    """
    try:
        record: RecordT = _adapter_of(kind).validate_python(values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise DataError(f"{path}: {first_problem(error)}. Delete this file to have it computed again.") from error
    return record


def _plain(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(fields)
    figures: dict[str, Any] = plain.pop("figures", {})
    return figures | plain


def _with_figures_apart(method: dict[str, Any]) -> dict[str, Any]:
    own = {key: method[key] for key in ("chosen", "settings") if key in method}
    return own | {"figures": {key: value for key, value in method.items() if key not in own}}


@dataclass(frozen=True, kw_only=True)
class LLMRecord:
    """An unseen LLM of a trial.

    Attributes:
        name: Of the LLM.
        cost: Of one prompt [cost unit of the table].
        quality: Mean over the test prompts, in [0, 1]; None without an outcome.
    """

    name: str
    cost: float
    quality: float | None


@dataclass(frozen=True, kw_only=True)
class MethodRecord:
    """One method on one trial.

    Attributes:
        figures: Figures of merit by key; None for what is not reached or not defined.
        chosen: What the fit chose.
        settings: Digest of the settings that it was computed with.
    """

    figures: dict[str, float | None]
    chosen: dict[str, int | float] = field(default_factory=dict)
    settings: str = ""


@dataclass(frozen=True, kw_only=True)
class CurveRecord:
    """A deferral curve at fixed relative costs; see :class:`~unirouter_torch.metrics.diagnostics.SampledCurve`."""

    relative_cost: list[float]
    quality: list[float]
    cost_weight: list[float | None]


@dataclass(frozen=True, kw_only=True)
class ReliabilityRecord:
    """Bins of the estimate; see :class:`~unirouter_torch.metrics.diagnostics.Reliability`."""

    count: list[int]
    estimated: list[float | None]
    observed: list[float | None]


@dataclass(frozen=True, kw_only=True)
class SourceRecord:
    """Prompts of one source; see :class:`~unirouter_torch.metrics.diagnostics.SourceScores`."""

    num_prompts: int
    area: float
    best_area: float
    regret: float


@dataclass(frozen=True, kw_only=True)
class SharesRecord:
    """Shares of the LLMs along the curve; see :class:`~unirouter_torch.metrics.diagnostics.Shares`."""

    relative_cost: list[float]
    cost_weight: list[float | None]
    share: list[list[float]]


@dataclass(frozen=True, kw_only=True)
class DiagnosticsRecord:
    """What lies behind a method's figures; see :class:`~unirouter_torch.metrics.diagnostics.Diagnostics`."""

    curve: CurveRecord
    reliability: ReliabilityRecord
    expected_calibration_error: float
    sources: dict[str, SourceRecord]
    worst_source_regret: float | None
    shares: SharesRecord | None


@dataclass(frozen=True, kw_only=True)
class TrialRecord(Record):
    """What was measured in one trial.

    Attributes:
        fingerprint: What all methods of the trial depend on.
        seed: Of the split, the calibration prompts and the methods.
        split: Sizes of the split.
        llms: The LLMs that were evaluated.
        methods: Figures by the name of the method.
        stages: What each stage took, by method and stage; empty in a sweep.
        diagnostics: By method; empty in a sweep.
    """

    fingerprint: str
    seed: int
    split: dict[str, int]
    llms: list[LLMRecord]
    methods: dict[str, Annotated[MethodRecord, BeforeValidator(_with_figures_apart)]] = field(default_factory=dict)
    stages: dict[str, dict[str, StageCost]] = field(default_factory=dict)
    diagnostics: dict[str, DiagnosticsRecord] = field(default_factory=dict)

    def with_methods(self, names: list[str]) -> "TrialRecord":
        """The trial with some of its methods, in that order."""

        def pick(found: dict[str, Any]) -> dict[str, Any]:
            return {name: found[name] for name in names if name in found}

        return replace(self, methods=pick(self.methods), stages=pick(self.stages), diagnostics=pick(self.diagnostics))


@dataclass(frozen=True, kw_only=True)
class StressTrial(Record):
    """What one stress did at one seed.

    Attributes:
        fingerprint: What the numbers depend on.
        seed: Of the split, the calibration prompts, the methods, and whatever is disturbed.
        levels: Figures by level and method, the undisturbed level first; none where the table does not allow the
            stress.
        about: What was disturbed, as JSON values.
    """

    fingerprint: str = ""
    seed: int
    levels: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EmbeddingCost(Record):
    """What it took to embed some prompts of the table, which all methods share.

    Attributes:
        fingerprint: The prompts and the encoder.
        num_prompts: How many prompts.
        wall_seconds: Time on the clock.
        cpu_seconds: Time of all threads of the process.
        peak_bytes: How far its memory rose; None where the system does not tell.
    """

    fingerprint: str
    num_prompts: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int | None
