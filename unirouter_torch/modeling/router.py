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
from unirouter_torch.modeling.router_files import (
    CalibrationPrompts,
    describe_encoder,
    find_router,
    load_encoder,
    read_calibration,
    read_head,
    read_pool,
    settings_of,
    tensors_of,
)
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error, sum_by_cluster
from unirouter_torch.routing.decision import choose_llms
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.shapes import ClusterError, ClusterProbability, Embedding, ErrorMatrix, LLMIndex
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
        return estimate_error(self.head(embedding), self._cluster_error())

    @torch.inference_mode()
    def estimate_error(self, prompts: Sequence[str]) -> ErrorMatrix:
        """Estimated error in [0, 1] of every LLM of the pool (columns as in ``pool.names``) on each prompt."""
        estimated: ErrorMatrix = self(self.encoder.embed(prompts).to(self.head.log_shrinkage.device))
        return estimated.cpu()

    @torch.inference_mode()
    def route(self, prompts: Sequence[str], cost_weight: float = DEFAULT_COST_WEIGHT) -> list[Route]:
        """Choose an LLM for each prompt.

        Args:
            prompts: Texts to route.
            cost_weight: Error accepted to save one reference cost (by default that of the dearest LLM at training)
                [1]; 0 asks for quality alone.

        Returns:
            One route for each prompt, in order. Equal scores go to the cheaper LLM.

        Raises:
            PoolError: ``cost_weight`` is negative or not finite, ``prompts`` is one string, or the pool is empty.
        """
        chosen, probability = self._choose(prompts, cost_weight)
        estimated = estimate_error(probability, self._cluster_error())
        cost = dict(zip(self.pool.names, self.pool.cost.tolist(), strict=True))
        return [
            Route(
                llm=self.pool.names[column],
                estimated_error=dict(zip(self.pool.names, errors, strict=True)),
                cost=cost,
            )
            for column, errors in zip(chosen.tolist(), estimated.tolist(), strict=True)
        ]

    def choose(self, prompts: Sequence[str], cost_weight: float = DEFAULT_COST_WEIGHT) -> list[str]:
        """Name the LLM for each prompt: the choice of :meth:`route` without its reasons, for large batches.

        Memory does not grow with prompts x LLMs.

        Args:
            prompts: Texts to route.
            cost_weight: As in :meth:`route`.

        Returns:
            The name for each prompt, in order. Equal scores go to the cheaper LLM.

        Raises:
            PoolError: As in :meth:`route`.
        """
        return [self.pool.names[column] for column in self._choose(prompts, cost_weight)[0].tolist()]

    @torch.inference_mode()
    def _choose(self, prompts: Sequence[str], cost_weight: float) -> tuple[LLMIndex, ClusterProbability]:
        if isinstance(prompts, str):
            raise PoolError("prompts: got one string, expected a list of prompts. Write router.route([prompt]).")
        if not self.pool.names:
            raise PoolError("pool: empty, there is nothing to choose. Call router.calibrate with your outcomes first.")
        probability = self.head(self.encoder.embed(prompts).to(self.head.log_shrinkage.device))
        return choose_llms(probability, self._cluster_error(), self.pool.relative_cost, cost_weight), probability

    def _cluster_error(self) -> ClusterError:
        """Cluster errors of the LLMs of the pool, on the device of the head."""
        device = self.head.log_shrinkage.device
        return self.head.cluster_error(ClusterSums(*(sums.to(device) for sums in self.pool.sums)))

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
        self.pool = self.pool.with_llm(name, cost, _sum_scores(self.calibration, name, scores))

    def remove_llm(self, name: str) -> None:
        """Take an LLM out of the pool.

        Raises:
            PoolError: The pool has no LLM of that name, or no other.
        """
        self.pool = self.pool.without_llm(name)

    @torch.inference_mode()
    def calibrate(
        self,
        prompts: Mapping[str, str],
        scores: Mapping[str, Mapping[str, float]],
        cost: Mapping[str, float],
        *,
        cost_unit: str = "US dollars per prompt",
        cost_is_estimate: bool = False,
    ) -> None:
        """Take other calibration prompts and another pool, from outcomes alone; nothing is trained.

        So a router that was trained elsewhere serves prompts and LLMs that it has never met.

        Args:
            prompts: Text of each calibration prompt, by prompt id.
            scores: Quality in [0, 1] of the answers of each LLM, by its name and prompt id; some may be left out.
            cost: Cost of one prompt for each LLM, by its name. The dearest becomes the reference cost.
            cost_unit: What the costs are measured in, for people.
            cost_is_estimate: Whether the costs were estimated, not billed or listed.

        Raises:
            PoolError: There are no prompts or LLMs, an LLM has no cost or no score, a prompt id is not one of
                ``prompts``, or a score or cost is out of range. The router is left as it was.
        """
        if not prompts or not scores:
            raise PoolError(f"calibrate: got {len(prompts)} prompts and {len(scores)} LLMs, expected some of both.")
        missing = [name for name in scores if name not in cost]
        if missing:
            raise PoolError(f"calibrate: no cost of {missing[0]!r}. Give every LLM a cost; 0 where it costs nothing.")
        texts = tuple(prompts.values())
        probability = self.head(self.encoder.embed(texts).to(self.head.log_shrinkage.device)).cpu()
        calibration = CalibrationPrompts(prompt_ids=tuple(prompts), texts=texts, cluster_probability=probability)
        reference = max(cost[name] for name in scores) or 1.0
        pool = LLMPool.empty(
            self.head.num_clusters, cost_unit=cost_unit, cost_is_estimate=cost_is_estimate, reference_cost=reference
        )
        for name, its_scores in scores.items():
            pool = pool.with_llm(name, cost[name], _sum_scores(calibration, name, its_scores))
        self.pool, self.calibration = pool, calibration

    def save_pretrained(self, folder: str | Path, *, with_encoder: bool = True) -> None:
        """Write the router as one folder: safetensors, JSON, the encoder in Hugging Face layout, and a card.

        The folder appears whole or not at all; a router that lay there is replaced.

        Args:
            folder: Where to write.
            with_encoder: Whether to copy the encoder; a reference with its checksum is written otherwise.

        Raises:
            ArtifactError: The folder exists and holds something else than a router.
        """
        reference = None if with_encoder else describe_encoder(self.encoder)
        settings = settings_of(self.pool, self.about, reference)
        with atomic_folder(Path(folder), "router", FORMAT_VERSION) as target:
            if with_encoder:
                self.encoder.save_pretrained(target / "encoder")
            write_tensors(target / "router.safetensors", tensors_of(self.head, self.pool, self.calibration))
            write_json(target / "router.json", settings)
            prompts = zip(self.calibration.prompt_ids, self.calibration.texts, strict=True)
            write_json(
                target / "calibration_prompts.json",
                [{"prompt_id": prompt_id, "prompt": text} for prompt_id, text in prompts],
            )
            write_atomically(target / "README.md", router_card(self.pool, settings).encode("utf-8"))

    @classmethod
    def from_pretrained(cls, name: str | Path) -> "Router":
        """Load a router that :meth:`save_pretrained` wrote, or one that comes with the package.

        Args:
            name: The router's folder, or the name of a bundled router: ``unirouter-minilm``.

        Raises:
            ArtifactError: The folder is missing, damaged, no router, or of a newer format, or the encoder that it
                refers to is another one.
        """
        folder = find_router(name)
        check_folder(folder, "router", FORMAT_VERSION)
        tensors = read_tensors(folder / "router.safetensors")
        settings = read_json(folder / "router.json")
        try:
            return cls(
                encoder=load_encoder(folder, settings),
                head=read_head(tensors),
                pool=read_pool(tensors, settings["pool"]),
                calibration=read_calibration(tensors, read_json(folder / "calibration_prompts.json")),
                about=settings["about"],
            ).eval()
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{folder}: an entry is missing ({error}). Save the router again.") from None


def _sum_scores(calibration: CalibrationPrompts, name: str, scores: Mapping[str, float]) -> ClusterSums:
    """Sums of one LLM from its scores by prompt id."""
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
    return sum_by_cluster(calibration.cluster_probability, error, observed)
