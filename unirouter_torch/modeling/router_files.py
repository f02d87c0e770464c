"""What a saved router's folder holds, between its parts in memory and its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unirouter_torch.errors import ArtifactError
from unirouter_torch.modeling.encoder import PromptEncoder
from unirouter_torch.modeling.encoder_files import digest_of_weights
from unirouter_torch.modeling.head import ClusterHead
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.shapes import ClusterProbability

BUNDLED_FOLDER = Path(__file__).parents[1] / "pretrained"
"""Where the routers that come with the package are."""


@dataclass(frozen=True, kw_only=True)
class CalibrationPrompts:
    """The prompts that represent an LLM: whoever answers and grades them can join the pool.

    Attributes:
        prompt_ids: One distinct identifier for each prompt.
        texts: The prompts.
        cluster_probability: Their cluster probabilities.
    """

    prompt_ids: tuple[str, ...]
    texts: tuple[str, ...]
    cluster_probability: ClusterProbability


def find_router(name: str | Path) -> Path:
    """The folder of a saved router: a local one, else one that comes with the package.

    Args:
        name: A folder, or the name of a bundled router such as ``unirouter-minilm``.
    """
    bundled = BUNDLED_FOLDER / name
    return bundled if not Path(name).exists() and bundled.parent == BUNDLED_FOLDER and bundled.is_dir() else Path(name)


def describe_encoder(encoder: PromptEncoder) -> dict[str, str]:
    """An encoder by reference: its name, and the SHA-256 of its weights.

    Raises:
        ArtifactError: The encoder has no files to refer to.
    """
    if encoder.folder is None:
        raise ArtifactError("encoder: made in memory, so there is nothing to refer to. Save the router with it.")
    return {"name": encoder.name, "sha256": digest_of_weights(encoder.folder)}


def load_encoder(folder: Path, settings: Mapping[str, Any]) -> PromptEncoder:
    """The encoder in a router's folder, or the one that the router refers to.

    Raises:
        ArtifactError: The encoder is missing, damaged, or has other weights than the router was trained with.
    """
    if "encoder" not in settings:
        return PromptEncoder.from_pretrained(str(folder / "encoder"))
    reference = settings["encoder"]
    encoder = PromptEncoder.from_pretrained(reference["name"])
    assert encoder.folder is not None
    found = digest_of_weights(encoder.folder)
    if found != reference["sha256"]:
        raise ArtifactError(
            f"{folder}: trained with the encoder {reference['name']} of SHA-256 {reference['sha256'][:12]}..., but the "
            f"one in {encoder.folder} has {found[:12]}... Its clusters would mean nothing: get the encoder named."
        )
    return encoder


def tensors_of(head: ClusterHead, pool: LLMPool, calibration: CalibrationPrompts) -> dict[str, torch.Tensor]:
    """The content of ``router.safetensors``."""
    return {f"head.{name}": tensor for name, tensor in head.state_dict().items()} | {
        "pool.cost": pool.cost,
        "pool.error_sum": pool.sums.error,
        "pool.weight_sum": pool.sums.weight,
        "calibration.cluster_probability": calibration.cluster_probability,
    }


def settings_of(pool: LLMPool, about: Mapping[str, Any], encoder: Mapping[str, str] | None) -> dict[str, Any]:
    """The content of ``router.json``.

    Args:
        pool: The LLMs.
        about: Facts for the card.
        encoder: Reference to the encoder where it is not in the folder.
    """
    reference = {} if encoder is None else {"encoder": dict(encoder)}
    return reference | {
        "pool": {
            "names": list(pool.names),
            "cost_unit": pool.cost_unit,
            "cost_is_estimate": pool.cost_is_estimate,
            "reference_cost": pool.reference_cost,
        },
        "about": dict(about),
    }


def read_head(tensors: Mapping[str, torch.Tensor]) -> ClusterHead:
    """The head in ``router.safetensors``."""
    state = {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
    num_clusters, dim = state["linear.weight"].shape
    head = ClusterHead(dim, num_clusters)
    head.load_state_dict(state)
    return head


def read_pool(tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> LLMPool:
    """The pool in ``router.safetensors`` and ``router.json``."""
    return LLMPool(
        names=tuple(settings["names"]),
        cost=tensors["pool.cost"],
        sums=ClusterSums(error=tensors["pool.error_sum"], weight=tensors["pool.weight_sum"]),
        cost_unit=settings["cost_unit"],
        cost_is_estimate=settings["cost_is_estimate"],
        reference_cost=settings["reference_cost"],
    )


def read_calibration(tensors: Mapping[str, torch.Tensor], prompts: Sequence[Mapping[str, str]]) -> CalibrationPrompts:
    """The calibration prompts in ``router.safetensors`` and ``calibration_prompts.json``."""
    return CalibrationPrompts(
        prompt_ids=tuple(entry["prompt_id"] for entry in prompts),
        texts=tuple(entry["prompt"] for entry in prompts),
        cluster_probability=tensors["calibration.cluster_probability"],
    )
