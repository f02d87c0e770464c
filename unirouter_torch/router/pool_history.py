"""Every state of the pool of a saved router: one small file each, never changed; the highest number counts."""

# over 300 lines: writing and reading of a revision are kept side by side, key by key

import getpass
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from unirouter_torch.errors import ArtifactError, PoolError
from unirouter_torch.router.schema import PoolSettings, RevisionSettings, check_pool_tensors, read_as
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.pooled_llm import PooledLLM
from unirouter_torch.routing.target import Target
from unirouter_torch.routing.token_cost import TokenCost
from unirouter_torch.storage import create_atomically, digest_of_tensors, read_file, refuse_constant, sha256_of

HISTORY_FOLDER = "pool"
"""Folder of the revisions inside a router's folder."""

_NOTES = "revision"


def data_sha256(paths: Sequence[Path]) -> str:
    """Checksum of what a change is made from: of several files or folders over the checksum of each."""
    digests = [sha256_of(path) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


@dataclass(frozen=True, kw_only=True)
class PoolChange:
    """How a revision came about.

    Attributes:
        what: What was changed, for people.
        who: Name of the user; empty for the pool as it was saved with the router.
        when: Time in UTC, as in ISO 8601; empty likewise.
        data: Name of the file or folder that the change was made from, or of several; empty where there was none.
        data_sha256: SHA-256 of its content, of a folder over the names and contents of its files; of several over the
            checksum of each; empty likewise.
        restores: Number of the revision whose pool came back, if this undid something.
    """

    what: str
    who: str = ""
    when: str = ""
    data: str = ""
    data_sha256: str = ""
    restores: int | None = None

    @classmethod
    def by_this_user(cls, what: str, *, data: Path | Sequence[Path] = (), restores: int | None = None) -> "PoolChange":
        """A change that is made now, by the user of this process.

        Args:
            what: What is changed, for people.
            data: File or folder that the change is made from, or several.
            restores: Number of the revision whose pool comes back.
        """
        try:
            who = getpass.getuser()
        except (OSError, KeyError):  # a container without a name for its user
            who = "unknown"
        paths = [data] if isinstance(data, Path) else data
        return cls(
            what=what,
            who=who,
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            data=", ".join(path.name for path in paths),
            data_sha256=data_sha256(paths),
            restores=restores,
        )


@dataclass(frozen=True, kw_only=True)
class PoolRevision:
    """One state of the pool.

    Attributes:
        number: 0 for the pool that was saved with the router, one more for each change.
        pool: The LLMs.
        change: How it came about.
        head: SHA-256 of the head that the sums were made with; of no other head they mean anything.
    """

    number: int
    pool: LLMPool
    change: PoolChange
    head: str

    @classmethod
    def first(cls, pool: LLMPool, head: str) -> "PoolRevision":
        """The pool as saved with a router; it names no user and no time, so that equal routers are equal files."""
        return cls(number=0, pool=pool, change=PoolChange(what="saved with the router"), head=head)

    def followed_by(self, pool: LLMPool, change: PoolChange) -> "PoolRevision":
        """The next revision, made with the same head."""
        return PoolRevision(number=self.number + 1, pool=pool, change=change, head=self.head)

    @property
    def position(self) -> int:
        """Number of the revision that first held this pool: where undoing goes on from."""
        return self.number if self.change.restores is None else self.change.restores


def latest_number(folder: Path) -> int | None:
    """Number of the latest revision in a router's folder; none in one that was written before there were revisions."""
    files = (folder / HISTORY_FOLDER).glob("*.safetensors")
    return max((int(file.stem) for file in files if re.fullmatch(r"\d{6,}", file.stem)), default=None)


def read_revision(folder: Path, number: int, *, head: str | None = None) -> PoolRevision:
    """Read one revision of a router's folder.

    Args:
        folder: The router's folder.
        number: Number of the revision.
        head: Digest of the head that its sums must have been made with; not checked when not given.

    Raises:
        ArtifactError: There is none of that number, it is damaged, or it was made with another head.
    """
    path = _path(folder, number)
    remedy = "Remove the file to go back to the revision before it, or copy the router again."
    try:
        tensors, notes = load(read_file(path)), _notes(path)
    except FileNotFoundError:
        latest = latest_number(folder) or 0
        raise ArtifactError(f"{folder}: no revision {number} of the pool; expected 0 to {latest}.") from None
    except (SafetensorError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: damaged ({error}). {remedy}") from None
    if notes.pop("sha256", None) != _digest(tensors, notes):
        raise ArtifactError(f"{path}: damaged, its content differs from its checksum. {remedy}")
    settings = read_as(RevisionSettings, notes, str(path))
    if head is not None and settings.head_sha256 != head:
        raise ArtifactError(
            f"{path}: made with another head than this router's. Load the router again, or copy it whole."
        )
    return PoolRevision(
        number=number,
        pool=read_pool_of(str(path), tensors, notes["pool"]),
        change=PoolChange(**settings.change.model_dump()),
        head=settings.head_sha256,
    )


def write_revision(folder: Path, revision: PoolRevision) -> bool:
    """Add a revision to a router's folder: whole or not at all, and never in place of another one.

    Returns:
        Whether it was written; False where there is one of that number.
    """
    tensors = _tensors_of(revision.pool)
    notes: dict[str, Any] = {
        "pool": _settings_of(revision.pool),
        "change": asdict(revision.change),
        "head_sha256": revision.head,
    }
    notes["sha256"] = _digest(tensors, notes)
    content = save(tensors, metadata={_NOTES: json.dumps(notes, ensure_ascii=False)})
    try:
        create_atomically(_path(folder, revision.number), content)
    except FileExistsError:
        return False
    return True


def pool_digest(pool: LLMPool) -> str:
    """Hexadecimal SHA-256 of all that a revision keeps of a pool."""
    return _digest(_tensors_of(pool), _settings_of(pool))


def _tensors_of(pool: LLMPool) -> dict[str, Tensor]:
    tensors = {"cost": pool.cost, "error_sum": pool.sums.error, "weight_sum": pool.sums.weight}
    if tests := [llm.drift for llm in pool.llms if llm.drift is not None]:
        tensors["drift.wealth"] = torch.stack([test.wealth for test in tests])
        tensors["drift.error_sum"] = torch.cat([test.reference.error for test in tests])
        tensors["drift.weight_sum"] = torch.cat([test.reference.weight for test in tests])
    if costs := [llm.token_cost for llm in pool.llms if llm.token_cost is not None]:
        tensors["token_sum"] = torch.stack([one.token_sum for one in costs])
        tensors["token_weight_sum"] = torch.stack([one.weight_sum for one in costs])
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _settings_of(pool: LLMPool) -> dict[str, Any]:
    # what few pools have is written where there is any, so that the digest of the others stays what it was
    of_some = {
        "latency": {llm.name: asdict(llm.latency) for llm in pool.llms if llm.latency is not None},
        "context_tokens": {llm.name: llm.context_tokens for llm in pool.llms if llm.context_tokens is not None},
    }
    return {
        "names": list(pool.names),
        "disabled": sorted(llm.name for llm in pool.llms if not llm.is_available),
        "drift": [
            {"llm": llm.name, "num_prompts": llm.drift.num_prompts, "most_evidence": llm.drift.most_evidence}
            for llm in pool.llms
            if llm.drift is not None
        ],
        "token_prices": {
            llm.name: [llm.token_cost.price_in, llm.token_cost.price_out]
            for llm in pool.llms
            if llm.token_cost is not None
        },
        "target": None if pool.target is None else _settings_of_target(pool.target),
        "cost_unit": pool.cost_unit,
        "cost_is_estimate": pool.cost_is_estimate,
        "reference_cost": pool.reference_cost,
    } | {name: content for name, content in of_some.items() if content}


def _settings_of_target(target: Target) -> dict[str, Any]:
    settings = asdict(target)
    if target.latency_weight == 0:
        del settings["latency_weight"]  # likewise
    return settings


def read_pool_of(place: str, tensors: dict[str, Tensor], settings: Any) -> LLMPool:
    """The pool in a file, checked.

    Args:
        place: The file, for the message.
        tensors: Its tensors.
        settings: What stands beside them.

    Raises:
        ArtifactError: Something is missing, of another type or shape, or out of range.
    """
    check_pool_tensors(place, tensors, read_as(PoolSettings, settings, f"{place}: pool"))
    try:
        return pool_of(tensors, settings)
    except PoolError as error:
        raise ArtifactError(f"{place}: {error}") from None


def pool_of(tensors: dict[str, Tensor], settings: dict[str, Any]) -> LLMPool:
    """The pool that ``_tensors_of`` and ``_settings_of`` took apart."""
    error, weight = tensors["error_sum"], tensors["weight_sum"]
    disabled = set(settings.get("disabled", ()))
    drift, token_costs = _drift_of(tensors, settings), _token_costs_of(tensors, settings)
    latency = {name: Latency(**its) for name, its in settings.get("latency", {}).items()}
    return LLMPool(
        llms=tuple(
            PooledLLM(
                name=name,
                cost=cost,
                sums=ClusterSums(error=error[[row]], weight=weight[[row]]),
                is_available=name not in disabled,
                drift=drift.get(name),
                token_cost=token_costs.get(name),
                latency=latency.get(name),
                context_tokens=settings.get("context_tokens", {}).get(name),
            )
            for row, (name, cost) in enumerate(zip(settings["names"], tensors["cost"].tolist(), strict=True))
        ),
        num_clusters=error.shape[1],
        cost_unit=settings["cost_unit"],
        cost_is_estimate=settings["cost_is_estimate"],
        reference_cost=settings["reference_cost"],
        target=Target(**settings["target"]) if settings.get("target") else None,
    )


def _drift_of(tensors: dict[str, Tensor], settings: dict[str, Any]) -> dict[str, DriftTest]:
    return {
        entry["llm"]: DriftTest(
            reference=ClusterSums(tensors["drift.error_sum"][[row]], tensors["drift.weight_sum"][[row]]),
            wealth=tensors["drift.wealth"][row],
            num_prompts=entry["num_prompts"],
            most_evidence=entry["most_evidence"],
        )
        for row, entry in enumerate(settings.get("drift", []))
    }


def _token_costs_of(tensors: dict[str, Tensor], settings: dict[str, Any]) -> dict[str, TokenCost]:
    return {
        name: TokenCost(
            price_in=price_in,
            price_out=price_out,
            token_sum=tensors["token_sum"][row],
            weight_sum=tensors["token_weight_sum"][row],
        )
        for row, (name, (price_in, price_out)) in enumerate(settings.get("token_prices", {}).items())
    }


def _path(folder: Path, number: int) -> Path:
    return folder / HISTORY_FOLDER / f"{number:06}.safetensors"


def _notes(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        notes = json.loads((file.metadata() or {}).get(_NOTES, "{}"), parse_constant=refuse_constant)
    if not isinstance(notes, dict):
        raise ValueError("its metadata is no JSON object")
    return notes


def _digest(tensors: dict[str, Tensor], notes: dict[str, Any]) -> str:
    return hashlib.sha256(f"{digest_of_tensors(tensors)}{json.dumps(notes, sort_keys=True)}".encode()).hexdigest()
