"""What a saved router's folder holds, between its parts in memory and its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unirouter_torch.errors import ArtifactError, PoolError
from unirouter_torch.modeling.encoder import PromptEncoder
from unirouter_torch.modeling.encoder_files import digest_of_weights
from unirouter_torch.modeling.head import ClusterHead
from unirouter_torch.modeling.hub import download_router, is_hub_id
from unirouter_torch.modeling.pool_history import PoolRevision, latest_number, pool_of, read_revision
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.label_noise import PromptDifficulty, correct_flips, estimate_flip_rate
from unirouter_torch.routing.prompt_selection import OutcomeAdjustment, sum_adjusted
from unirouter_torch.shapes import ClusterProbability, ErrorMatrix, ObservedMatrix
from unirouter_torch.storage import digest_of_tensors, write_json, write_tensors

BUNDLED_FOLDER = Path(__file__).parents[1] / "pretrained"
"""Where the routers that come with the package are."""


@dataclass(frozen=True, kw_only=True)
class CalibrationPrompts:
    """The prompts that represent an LLM: whoever answers and grades them can join the pool.

    Attributes:
        prompt_ids: One distinct identifier for each prompt.
        texts: The prompts.
        cluster_probability: Their cluster probabilities.
        adjustment: What an error on each of them counts, where they were chosen and not drawn.
        difficulty: How hard they are, by which wrong labels of a new LLM are told; None where that is not known.
    """

    prompt_ids: tuple[str, ...]
    texts: tuple[str, ...]
    cluster_probability: ClusterProbability
    adjustment: OutcomeAdjustment | None = None
    difficulty: PromptDifficulty | None = None

    def typical_error(self, prompt_ids: Sequence[str], error: float) -> float:
        """What a mean error on some of these prompts says of prompts in general: the same where they were drawn."""
        if self.adjustment is None:
            return error
        rows = [self.prompt_ids.index(prompt_id) for prompt_id in prompt_ids]
        return float(self.adjustment.offset[rows].mean() + self.adjustment.slope[rows].mean() * error)


def find_router(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a saved router: a local one, else one that comes with the package, else one from the hub.

    Args:
        name: A folder, the name of a bundled router such as ``unirouter-minilm``, or a hub id ``owner/name``.
        revision: Branch, tag or commit on the hub; plays no part where the router is found on this machine.

    Raises:
        ArtifactError: A hub id that is to be had neither here nor there.
    """
    if Path(name).exists():
        return Path(name)
    bundled = BUNDLED_FOLDER / name
    if bundled.parent == BUNDLED_FOLDER and bundled.is_dir():
        return bundled
    return download_router(name, revision) if isinstance(name, str) and is_hub_id(name) else Path(name)


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


def write_parts(
    folder: Path,
    head: ClusterHead,
    calibration: CalibrationPrompts,
    about: Mapping[str, Any],
    encoder: Mapping[str, str] | None,
) -> None:
    """Write all of a router but its encoder, its pool and its card.

    Args:
        folder: Where to write.
        head: Goes into ``router.safetensors`` with the cluster probabilities of the calibration prompts.
        calibration: Its prompts go into ``calibration_prompts.json``.
        about: Facts for the card; go into ``router.json``.
        encoder: Reference to the encoder where it is not in the folder; likewise.
    """
    tensors = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    tensors["calibration.cluster_probability"] = calibration.cluster_probability
    if calibration.adjustment is not None:
        tensors |= {f"calibration.{name}": part for name, part in calibration.adjustment._asdict().items()}
    if calibration.difficulty is not None:
        tensors["calibration.difficulty"], tensors["calibration.ability_spread"] = calibration.difficulty
    write_tensors(folder / "router.safetensors", tensors)
    reference = {} if encoder is None else {"encoder": dict(encoder)}
    write_json(folder / "router.json", reference | {"about": dict(about)})
    prompts = zip(calibration.prompt_ids, calibration.texts, strict=True)
    entries = [{"prompt_id": prompt_id, "prompt": text} for prompt_id, text in prompts]
    write_json(folder / "calibration_prompts.json", entries)


def read_head(tensors: Mapping[str, torch.Tensor]) -> ClusterHead:
    """The head in ``router.safetensors``."""
    state = {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
    num_clusters, dim = state["linear.weight"].shape
    head = ClusterHead(dim, num_clusters)
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
    return PoolRevision.first(pool_of(parts, settings["pool"] | {"disabled": []}), head)


def read_calibration(tensors: Mapping[str, torch.Tensor], prompts: Sequence[Mapping[str, str]]) -> CalibrationPrompts:
    """The calibration prompts in ``router.safetensors`` and ``calibration_prompts.json``."""
    names = ("calibration.difficulty", "calibration.ability_spread")
    return CalibrationPrompts(
        prompt_ids=tuple(entry["prompt_id"] for entry in prompts),
        texts=tuple(entry["prompt"] for entry in prompts),
        cluster_probability=tensors["calibration.cluster_probability"],
        adjustment=OutcomeAdjustment(tensors["calibration.offset"], tensors["calibration.slope"])
        if "calibration.offset" in tensors
        else None,
        difficulty=PromptDifficulty(*(tensors[name] for name in names)) if names[0] in tensors else None,
    )


def sum_scores(
    calibration: CalibrationPrompts, name: str, scores: Mapping[str, float], flip_rate: float | None = 0.0
) -> ClusterSums:
    """Sums of one LLM from its scores by prompt id.

    Args:
        calibration: The prompts.
        name: Of the LLM, for messages.
        scores: Quality in [0, 1] by prompt id.
        flip_rate: Share of the scores that are wrong, in [0, 0.5); None to estimate it.

    Raises:
        PoolError: There are no scores, one is of another prompt, or one is outside [0, 1]; the flip rate is out of
            range, or is given to a router that does not know how hard its calibration prompts are.
    """
    error, observed = errors_of(calibration, name, scores)
    if flip_rate != 0:
        if calibration.difficulty is None:
            raise PoolError(
                "flip_rate: this router does not know how hard its calibration prompts are. Train or adopt it again, "
                "or set the flip rate to 0."
            )
        rate = float(estimate_flip_rate(error, observed, calibration.difficulty)) if flip_rate is None else flip_rate
        error = correct_flips(error, observed, calibration.difficulty, rate)
    return sum_adjusted(calibration.cluster_probability, error, observed, calibration.adjustment)


def errors_of(
    calibration: CalibrationPrompts, name: str, scores: Mapping[str, float]
) -> tuple[ErrorMatrix, ObservedMatrix]:
    """Errors of one LLM on the calibration prompts, and which of them were observed, from its scores by prompt id.

    Raises:
        PoolError: There are no scores, one is of another prompt, or one is outside [0, 1].
    """
    if not scores:
        raise PoolError(f"scores of {name!r}: empty; expected the score of at least one calibration prompt.")
    row_of = {prompt_id: row for row, prompt_id in enumerate(calibration.prompt_ids)}
    error = torch.zeros(len(row_of), 1)
    observed = torch.zeros(len(row_of), 1, dtype=torch.bool)
    for prompt_id, score in scores.items():
        if prompt_id not in row_of:
            raise PoolError(
                f"scores of {name!r}: {prompt_id!r} is not a calibration prompt of this router. "
                "Its prompts and their ids are in calibration_prompts.json."
            )
        if not 0 <= score <= 1:
            raise PoolError(f"scores of {name!r}: got {score} for {prompt_id!r}, expected a score in [0, 1].")
        error[row_of[prompt_id]] = 1 - score
        observed[row_of[prompt_id]] = True
    return error, observed
