"""What a saved router's folder holds, between its parts in memory and its files."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unirouter_torch.config.router import Backend
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ArtifactError, ConfigError, PoolError
from unirouter_torch.router.calibration import CalibrationPrompts, cost_of_prompts
from unirouter_torch.router.card import router_card
from unirouter_torch.router.hub import download_router, is_hub_id, push_folder
from unirouter_torch.router.pool_history import (
    HISTORY_FOLDER,
    PoolChange,
    PoolRevision,
    latest_number,
    read_pool_of,
    read_revision,
    write_revision,
)
from unirouter_torch.router.saved_encoder import SavedEncoder, describe_encoder
from unirouter_torch.router.saved_pool import FORMAT_VERSION, SavedPool
from unirouter_torch.router.schema import (
    CalibrationFile,
    CalibrationPrompt,
    RouterSettings,
    check_clusters,
    check_head,
    check_router_tensors,
    read_as,
)
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.label_noise import PromptDifficulty
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.prompt_selection import OutcomeAdjustment
from unirouter_torch.storage import (
    atomic_folder,
    check_folder,
    digest_of_tensors,
    read_json,
    read_tensors,
    write_atomically,
    write_json,
    write_tensors,
)

BUNDLED_FOLDER = Path(__file__).parents[1] / "pretrained"
"""Where the routers that come with the package are."""


def find_router(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a saved router: a local one, else one that comes with the package, else one from the hub.

    Args:
        name: A folder, the name of a bundled router such as ``unirouter-minilm``, or a hub id ``owner/name``.
        revision: Branch, tag or commit on the hub; plays no part where the router is found on this machine.

    Raises:
        ArtifactError: A hub id that is neither in the cache nor on the hub.
    """
    if Path(name).exists():
        return Path(name)
    bundled = BUNDLED_FOLDER / name
    if bundled.parent == BUNDLED_FOLDER and bundled.is_dir():
        return bundled
    return download_router(name, revision) if isinstance(name, str) and is_hub_id(name) else Path(name)


class RouterParts(NamedTuple):
    """What a router is made of; see there."""

    encoder: PromptEncoder | SavedEncoder
    head: ClusterHead
    pool: LLMPool
    calibration: CalibrationPrompts
    about: Mapping[str, Any]


def write_router(folder: Path, parts: RouterParts, saved: SavedPool | None, *, with_encoder: bool) -> SavedPool:
    """Write a router's folder, whole or not at all.

    Args:
        folder: Where to write; an absolute path.
        parts: The router, its encoder loaded.
        saved: Where it lies already, if it does: there the history of its pool goes on.
        with_encoder: Whether to copy the encoder, or to write a reference to it.

    Returns:
        The pool as it lies in the folder now.
    """
    assert isinstance(parts.encoder, PromptEncoder)
    reference = {} if with_encoder else {"encoder": describe_encoder(parts.encoder)}
    cost = cost_of_prompts(parts.head, parts.calibration, parts.pool).typical
    revision = PoolRevision.first(parts.pool, digest_of_head(parts.head))
    goes_on = saved is not None and folder == saved.folder
    retire = saved.check_is_latest if saved is not None and goes_on else None
    with atomic_folder(folder, "router", FORMAT_VERSION, retire=retire) as target:
        if with_encoder:
            parts.encoder.save_pretrained(target / "encoder")
        recipe = parts.encoder.recipe
        reading = {"max_length": recipe.max_length, "keep": recipe.keep, "conversation": recipe.conversation}
        write_json(target / "router.json", reference | {"reading": reading, "about": dict(parts.about)})
        _write_head_and_calibration(target, parts.head, parts.calibration)
        write_atomically(target / "README.md", router_card(parts.pool, cost, parts.about).encode("utf-8"))
        if saved is not None and goes_on:
            saved.copy_history(target)
            revision = saved.revision.followed_by(parts.pool, PoolChange.by_this_user("saved with the router"))
        write_revision(target, revision)
    return SavedPool(folder, revision)


def push_router(parts: RouterParts, repo_id: str, *, private: bool | None, token: str | None, message: str) -> str:
    """Put a router on the hub as :func:`write_router` writes it; the rest is said in :func:`push_folder`."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "router"
        write_router(folder, parts, None, with_encoder=True)
        return push_folder(folder, repo_id, private=private, token=token, message=message)


def read_router(
    name: str | Path, revision: str | None = None, backend: Backend = "torch"
) -> tuple[RouterParts, SavedPool | None]:
    """Read what :func:`write_router` wrote, but for the numbers of the encoder.

    Args:
        name: A folder, the name of a bundled router, or a hub id.
        revision: Branch, tag or commit on the hub.
        backend: What will run the encoder.

    Returns:
        The router, and its pool as it lies in the folder; none for one of the package or of the hub's cache, which are
        no places to write to.

    Raises:
        ArtifactError: The folder is missing, damaged, no router, or of a newer format, or the hub does not have it or
            cannot be reached.
    """
    folder = find_router(name, revision)
    check_folder(folder, "router", FORMAT_VERSION, growing=HISTORY_FOLDER)
    tensors = read_tensors(folder / "router.safetensors")
    settings = read_json(folder / "router.json")
    try:
        facts = read_as(RouterSettings, settings, "router.json")
        about = facts.about
        entries = read_json(folder / "calibration_prompts.json")
        prompts = read_as(CalibrationFile, entries, "calibration_prompts.json").root
        check_router_tensors(tensors, prompts)
        head = read_head(tensors)
        latest = read_pool(folder, digest_of_head(head), tensors, settings)
        check_clusters("pool", latest.pool.sums.error.shape[1], head.num_clusters)
        reading = {} if facts.reading is None else facts.reading.model_dump()
        encoder = SavedEncoder.of(folder, settings.get("encoder"), reading, head.dim, backend)
        encoder.check()
        parts = RouterParts(
            encoder=encoder, head=head, pool=latest.pool, calibration=read_calibration(tensors, prompts), about=about
        )
    except ArtifactError as error:
        raise error if str(folder) in str(error) else ArtifactError(f"{folder}: {error}") from None
    # what no check has foreseen ends as one line too, and never in a router that is half read
    except (PoolError, ConfigError, KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise ArtifactError(f"{folder}: damaged ({type(error).__name__}: {error}). Save the router again.") from None
    return parts, SavedPool(folder, latest) if Path(name).exists() else None


def _write_head_and_calibration(folder: Path, head: ClusterHead, calibration: CalibrationPrompts) -> None:
    tensors = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    tensors["calibration.cluster_probability"] = calibration.cluster_probability
    if calibration.adjustment is not None:
        tensors |= {f"calibration.{name}": part for name, part in calibration.adjustment._asdict().items()}
    if calibration.difficulty is not None:
        tensors["calibration.difficulty"], tensors["calibration.ability_spread"] = calibration.difficulty
    write_tensors(folder / "router.safetensors", tensors)
    prompts = zip(calibration.prompt_ids, calibration.texts, strict=True)
    entries = [{"prompt_id": prompt_id, "prompt": text} for prompt_id, text in prompts]
    write_json(folder / "calibration_prompts.json", entries)


def read_head(tensors: Mapping[str, torch.Tensor]) -> ClusterHead:
    """The head in ``router.safetensors``.

    Raises:
        ArtifactError: A tensor of it is missing, of another type or shape, or out of range.
    """
    check_head(tensors)
    state = {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
    num_clusters, dim = state["linear.weight"].shape
    head = ClusterHead(dim, num_clusters)
    head.far = state.get("far")
    head.load_state_dict(state)
    return head


def digest_of_head(head: ClusterHead) -> str:
    """SHA-256 of a head: sums that were made with it mean nothing to another one."""
    return digest_of_tensors(head.state_dict())


def read_pool(
    folder: Path, head: str, tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]
) -> PoolRevision:
    """The latest revision of the pool; in format version 1 the pool is in ``router.safetensors`` and ``router.json``.

    Args:
        folder: The router's folder.
        head: Digest of its head.
        tensors: Content of ``router.safetensors``.
        settings: Content of ``router.json``.

    Raises:
        ArtifactError: The revision is damaged, or belongs to another head.
    """
    latest = latest_number(folder)
    if latest is not None:
        return read_revision(folder, latest, head=head)
    parts = {name.removeprefix("pool."): tensor for name, tensor in tensors.items() if name.startswith("pool.")}
    return PoolRevision.first(read_pool_of("router.safetensors", parts, settings.get("pool")), head)


def read_calibration(tensors: Mapping[str, torch.Tensor], prompts: Sequence[CalibrationPrompt]) -> CalibrationPrompts:
    """The calibration prompts in ``router.safetensors`` and ``calibration_prompts.json``."""
    names = ("calibration.difficulty", "calibration.ability_spread")
    return CalibrationPrompts(
        prompt_ids=tuple(prompt.prompt_id for prompt in prompts),
        texts=tuple(prompt.prompt for prompt in prompts),
        cluster_probability=tensors["calibration.cluster_probability"],
        adjustment=OutcomeAdjustment(tensors["calibration.offset"], tensors["calibration.slope"])
        if "calibration.offset" in tensors
        else None,
        difficulty=PromptDifficulty(*(tensors[name] for name in names)) if names[0] in tensors else None,
    )
