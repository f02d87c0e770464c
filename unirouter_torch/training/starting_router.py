"""A trained router that training starts from, instead of K-means."""

from pathlib import Path
from typing import Any, NamedTuple

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.encoder.files import digest_of_weights
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ConfigError
from unirouter_torch.router.pool_history import HISTORY_FOLDER
from unirouter_torch.router.router_files import find_router, read_head
from unirouter_torch.router.saved_encoder import form_of_reference
from unirouter_torch.router.saved_pool import FORMAT_VERSION
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.storage import MANIFEST_NAME, check_folder, read_json, read_tensors, sha256_of_file


class StartingRouter(NamedTuple):
    """What training takes from the router of ``head.start_from``.

    Attributes:
        head: Its clusters, difficulty and shrinkage.
        encoder_folder: Its encoder; None where it only refers to one.
        reference: The encoder that it refers to, ``name`` and ``sha256``; empty where it brings one.
    """

    head: ClusterHead
    encoder_folder: Path | None
    reference: dict[str, Any]


def read_starting_router(config: TrainConfig) -> StartingRouter | None:
    """The router of ``head.start_from``; None where training starts from K-means.

    Raises:
        ArtifactError: The folder is missing, damaged, or no router.
        ConfigError: The router has another number of clusters than ``head.num_clusters``.
    """
    name = config.head.start_from
    if name is None:
        return None
    folder = find_router(name)
    check_folder(folder, "router", FORMAT_VERSION, growing=HISTORY_FOLDER)
    head = read_head(read_tensors(folder / "router.safetensors"))
    head.far = None  # it is told from the prompts of this training
    if head.num_clusters != config.head.num_clusters:
        raise ConfigError(
            f"head.num_clusters: got {config.head.num_clusters}, but the router of head.start_from, {name}, has "
            f"{head.num_clusters}. Set head.num_clusters to {head.num_clusters}."
        )
    reference = read_json(folder / "router.json").get("encoder", {})
    return StartingRouter(head, None if reference else folder / "encoder", reference)


def digest_of_start(config: TrainConfig) -> str | None:
    """What tells the router of ``head.start_from`` from every other one; None where training starts from K-means."""
    name = config.head.start_from
    return None if name is None else sha256_of_file(find_router(name) / MANIFEST_NAME)


def load_encoder_to_start_from(config: TrainConfig) -> PromptEncoder:
    """The encoder that the router of ``head.start_from`` brings, else the one of ``encoder.name``.

    Raises:
        ArtifactError: An encoder is not found, damaged, or of a kind that is not supported; or the router is.
        ConfigError: The encoder of ``encoder.name`` is not the one that the router refers to.
    """
    start, settings = read_starting_router(config), config.encoder
    own = start.encoder_folder if start else None
    encoder = PromptEncoder.from_pretrained(
        str(own or settings.name),
        revision=settings.revision,
        max_length=settings.max_length,
        form_weight=None if start else settings.form_weight,
        keep=settings.keep,
        conversation=settings.conversation,
        backend=settings.backend,
        cache_dir=config.data.cache_dir,
    )
    if start and own is None:
        encoder.form = form_of_reference(start.reference)
    assert encoder.folder is not None
    if start and own is None and digest_of_weights(encoder.folder) != start.reference["sha256"]:
        raise ConfigError(
            f"encoder.name: got {settings.name}, but the router of head.start_from, {config.head.start_from}, was "
            f"trained over {start.reference['name']} of SHA-256 {start.reference['sha256'][:12]}... and means nothing "
            "over other weights. Choose that encoder, or another router."
        )
    return encoder
