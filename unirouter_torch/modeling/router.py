"""The router: encoder, cluster head and pool, saved and loaded as one folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unirouter_torch.config.router import DEFAULT_COST_WEIGHT
from unirouter_torch.errors import ArtifactError, PoolError
from unirouter_torch.modeling.card import router_card
from unirouter_torch.modeling.encoder import PromptEncoder
from unirouter_torch.modeling.head import ClusterHead
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error, sum_by_cluster
from unirouter_torch.routing.decision import choose_llm
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.shapes import ClusterProbability, Embedding, ErrorMatrix
from unirouter_torch.storage import (
    atomic_folder,
    check_folder,
    read_json,
    read_tensors,
    write_atomically,
    write_json,
    write_tensors,
)

FORMAT_VERSION = 1


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


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where one prompt goes, and why.

    Attributes:
        llm: Name of the chosen LLM.
        estimated_error: Estimated error of every LLM of the pool, in [0, 1].
        cost: Cost of one prompt for every LLM, in the pool's unit.
    """

    llm: str
    estimated_error: dict[str, float]
    cost: dict[str, float]


class Router(nn.Module):
    """Sends each prompt to the LLM with the smallest estimated error plus weighted cost.

    The estimated error is one inner product, ``p(x) . Psi(h)``: the cluster probabilities of the prompt and the cluster
    errors of the LLM.

    Args:
        encoder: Embeds prompts.
        head: Turns embeddings into cluster probabilities.
        pool: The LLMs.
        calibration: The prompts that represent an LLM.
        about: Facts for the card (data, split, metrics); JSON types only.

    Example:
        >>> router = Router.from_pretrained("runs/quickstart/router")
        >>> router.route(["What is 17 + 25?"], cost_weight=0.1)[0].llm
    """

    def __init__(
        self,
        *,
        encoder: PromptEncoder,
        head: ClusterHead,
        pool: LLMPool,
        calibration: CalibrationPrompts,
        about: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.pool = pool
        self.calibration = calibration
        self.about = dict(about)

    def forward(self, embedding: Embedding) -> ErrorMatrix:
        """Estimated error in [0, 1] of every LLM of the pool on prompts with the given embeddings."""
        features = self.head.cluster_error(ClusterSums(*(sums.to(embedding.device) for sums in self.pool.sums)))
        return estimate_error(self.head(embedding), features)

    @torch.inference_mode()
    def estimate_error(self, prompts: Sequence[str]) -> ErrorMatrix:
        """Estimated error in [0, 1] of every LLM of the pool (columns as in ``pool.names``) on each prompt."""
        estimated: ErrorMatrix = self(self.encoder.embed(prompts).to(self.head.log_shrinkage.device))
        return estimated.cpu()

    def route(self, prompts: Sequence[str], cost_weight: float = DEFAULT_COST_WEIGHT) -> list[Route]:
        """Choose an LLM for each prompt.

        Args:
            prompts: Texts to route.
            cost_weight: Error accepted to save one reference cost (by default that of the dearest LLM at training)
                [1]; 0 asks for quality alone.

        Returns:
            One route for each prompt, in order. Equal scores go to the cheaper LLM.

        Raises:
            PoolError: ``cost_weight`` is negative or not finite, or ``prompts`` is one string.
        """
        if isinstance(prompts, str):
            raise PoolError("prompts: got one string, expected a list of prompts. Write router.route([prompt]).")
        estimated = self.estimate_error(prompts)
        chosen = choose_llm(estimated, self.pool.relative_cost, cost_weight)
        cost = dict(zip(self.pool.names, self.pool.cost.tolist(), strict=True))
        return [
            Route(
                llm=self.pool.names[column],
                estimated_error=dict(zip(self.pool.names, errors, strict=True)),
                cost=cost,
            )
            for column, errors in zip(chosen.tolist(), estimated.tolist(), strict=True)
        ]

    def add_llm(self, name: str, scores: Mapping[str, float], cost: float) -> None:
        """Let a new LLM join the pool from its outcomes on calibration prompts; nothing is trained.

        Args:
            name: A name that the pool does not hold yet.
            scores: Quality in [0, 1] of its answer to calibration prompts, by prompt id; some may be left out.
            cost: Cost of one prompt, in ``pool.cost_unit``.

        Raises:
            PoolError: There are no scores, a prompt id is not one of ``calibration.prompt_ids``, a score is outside
                [0, 1], the name is taken, or the cost is negative or not finite.
        """
        if not scores:
            raise PoolError(f"scores of {name!r}: empty; expected the score of at least one calibration prompt.")
        row_of = {prompt_id: row for row, prompt_id in enumerate(self.calibration.prompt_ids)}
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
        sums = sum_by_cluster(self.calibration.cluster_probability, error, observed)
        self.pool = self.pool.with_llm(name, cost, sums)

    def remove_llm(self, name: str) -> None:
        """Take an LLM out of the pool.

        Raises:
            PoolError: The pool has no LLM of that name, or no other.
        """
        self.pool = self.pool.without_llm(name)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the router as one folder: safetensors, JSON, the encoder in Hugging Face layout, and a card.

        The folder appears whole or not at all; a router that lay there is replaced.

        Args:
            folder: Where to write.

        Raises:
            ArtifactError: The folder exists and holds something else than a router.
        """
        with atomic_folder(Path(folder), "router", FORMAT_VERSION) as target:
            self.encoder.save_pretrained(target / "encoder")
            write_tensors(target / "router.safetensors", self._tensors())
            write_json(target / "router.json", self._settings())
            prompts = zip(self.calibration.prompt_ids, self.calibration.texts, strict=True)
            write_json(
                target / "calibration_prompts.json",
                [{"prompt_id": prompt_id, "prompt": text} for prompt_id, text in prompts],
            )
            write_atomically(target / "README.md", router_card(self.pool, self._settings()).encode("utf-8"))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "Router":
        """Load a router that :meth:`save_pretrained` wrote.

        Args:
            folder: The router's folder.

        Raises:
            ArtifactError: The folder is missing, damaged, no router, or of a newer format.
        """
        folder = Path(folder)
        check_folder(folder, "router", FORMAT_VERSION)
        encoder = PromptEncoder.from_pretrained(str(folder / "encoder"))
        tensors = read_tensors(folder / "router.safetensors")
        settings = read_json(folder / "router.json")
        prompts = read_json(folder / "calibration_prompts.json")
        try:
            return cls(
                encoder=encoder,
                head=_read_head(tensors),
                pool=_read_pool(tensors, settings["pool"]),
                calibration=CalibrationPrompts(
                    prompt_ids=tuple(entry["prompt_id"] for entry in prompts),
                    texts=tuple(entry["prompt"] for entry in prompts),
                    cluster_probability=tensors["calibration.cluster_probability"],
                ),
                about=settings["about"],
            ).eval()
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{folder}: an entry is missing ({error}). Save the router again.") from None

    def _tensors(self) -> dict[str, torch.Tensor]:
        head = {f"head.{name}": tensor for name, tensor in self.head.state_dict().items()}
        return head | {
            "pool.cost": self.pool.cost,
            "pool.error_sum": self.pool.sums.error,
            "pool.weight_sum": self.pool.sums.weight,
            "calibration.cluster_probability": self.calibration.cluster_probability,
        }

    def _settings(self) -> dict[str, Any]:
        return {
            "pool": {
                "names": list(self.pool.names),
                "cost_unit": self.pool.cost_unit,
                "cost_is_estimate": self.pool.cost_is_estimate,
                "reference_cost": self.pool.reference_cost,
            },
            "about": self.about,
        }


def _read_head(tensors: Mapping[str, torch.Tensor]) -> ClusterHead:
    state = {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
    num_clusters, dim = state["linear.weight"].shape
    head = ClusterHead(dim, num_clusters)
    head.load_state_dict(state)
    return head


def _read_pool(tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> LLMPool:
    return LLMPool(
        names=tuple(settings["names"]),
        cost=tensors["pool.cost"],
        sums=ClusterSums(error=tensors["pool.error_sum"], weight=tensors["pool.weight_sum"]),
        cost_unit=settings["cost_unit"],
        cost_is_estimate=settings["cost_is_estimate"],
        reference_cost=settings["reference_cost"],
    )
