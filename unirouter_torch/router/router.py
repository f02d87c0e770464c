"""The router: encoder, cluster head and pool, saved and loaded as one folder."""

# over 300 lines: the public face, one short method per call; two fifths are docstrings

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unirouter_torch.config.router import DEFAULT_COST_WEIGHT
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import PoolConflictError, PoolError
from unirouter_torch.router.calibration import (
    CalibrationPrompts,
    TokenPrices,
    errors_of,
    pool_of_outcomes,
    sum_output_tokens,
    sum_scores,
)
from unirouter_torch.router.chooser import Chooser, cluster_errors, cost_of_prompts
from unirouter_torch.router.hub import push_folder
from unirouter_torch.router.observation import cluster_embedding, cluster_prompts, observe
from unirouter_torch.router.pool_history import PoolChange, PoolRevision
from unirouter_torch.router.route import Route
from unirouter_torch.router.router_files import RouterParts, read_router, write_router
from unirouter_torch.router.saved_pool import SavedPool
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.pooled_llm import PooledLLM
from unirouter_torch.routing.token_cost import PromptCost, count_tokens
from unirouter_torch.shapes import ClusterProbability, Embedding, ErrorMatrix, LLMIndex


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

    saved: SavedPool | None = None
    """The pool as it lies in the router's folder; none before the router is saved."""

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
        self.about = dict(about)
        self._choosers: dict[tuple[bool, float | None, float | None], Chooser] = {}
        self._pool = pool
        self._calibration = calibration

    @property
    def pool(self) -> LLMPool:
        """The LLMs."""
        return self._pool

    @pool.setter
    def pool(self, pool: LLMPool) -> None:
        self._pool, self._choosers = pool, {}

    @property
    def calibration(self) -> CalibrationPrompts:
        """The prompts that represent an LLM."""
        return self._calibration

    @calibration.setter
    def calibration(self, calibration: CalibrationPrompts) -> None:
        self._calibration, self._choosers = calibration, {}

    def forward(self, embedding: Embedding) -> ErrorMatrix:
        """Estimated error in [0, 1] of every LLM of the pool on prompts with the given embeddings."""
        return estimate_error(self.head(embedding), cluster_errors(self.head, self.pool))

    @torch.inference_mode()
    def estimate_error(self, prompts: Sequence[str]) -> ErrorMatrix:
        """Estimated error in [0, 1] of every LLM of the pool (columns as in ``pool.names``) on each prompt."""
        estimated: ErrorMatrix = self(self.encoder.embed(prompts).to(self.head.log_shrinkage.device))
        return estimated.cpu()

    def chooser(
        self,
        cost_weight: float | None = None,
        *,
        latency_weight: float | None = None,
        caution: float | None = None,
        llms: Sequence[str] | None = None,
    ) -> Chooser:
        """What all choices with these options are made by; a change of the pool takes effect at the next call.

        Args and errors are those of :meth:`Chooser.of`. All that chooses here takes the same options.
        """
        if not self.pool.names:
            raise PoolError("pool: empty, there is nothing to choose. Call router.calibrate with your outcomes first.")
        # read before the pool, so that what is made of a pool that another thread replaces is not kept
        kept, key = self._choosers, (cost_weight is None, latency_weight, caution)
        chooser = kept.get(key)
        if chooser is None:
            chooser = kept[key] = Chooser.of(
                self.head,
                self.calibration,
                self.pool,
                cost_weight=cost_weight,
                latency_weight=latency_weight,
                caution=caution,
            )
        chooser = chooser if cost_weight is None else chooser.at(cost_weight)
        return chooser if llms is None else chooser.among(llms)

    @torch.inference_mode()
    def cluster(self, prompts: Sequence[str]) -> ClusterProbability:
        """Cluster probabilities of prompts, on the device of the head: what a :class:`Chooser` takes.

        Raises:
            PoolError: ``prompts`` is one string.
        """
        if isinstance(prompts, str):
            raise PoolError("prompts: got one string, expected a list of prompts. Write router.route([prompt]).")
        probability: ClusterProbability = self.head(self.encoder.embed(prompts).to(self.head.log_shrinkage.device))
        return probability

    @torch.inference_mode()
    def route(
        self,
        prompts: Sequence[str],
        cost_weight: float | None = None,
        *,
        latency_weight: float | None = None,
        caution: float | None = None,
        llms: Sequence[str] | None = None,
    ) -> list[Route]:
        """Choose an LLM for each prompt.

        Args:
            prompts: Texts to route.
            cost_weight: Error accepted to save one reference cost; as in :meth:`Chooser.of`, like all that follow.
            latency_weight: What a second costs.
            caution: How sure to be that a cluster error is not underestimated.
            llms: Names of the LLMs that may be chosen.

        Returns:
            One route for each prompt, in order. Equal totals go to the cheaper LLM.

        Raises:
            PoolError: As there, or ``prompts`` is one string.
        """
        chooser = self.chooser(cost_weight, latency_weight=latency_weight, caution=caution, llms=llms)
        return chooser.routes(self.cluster(prompts), count_tokens(prompts))

    @torch.inference_mode()
    def route_clustered(
        self,
        probability: ClusterProbability,
        tokens: Float[Tensor, " prompt"],
        cost_weight: float | None = None,
        *,
        latency_weight: float | None = None,
        caution: float | None = None,
        llms: Sequence[str] | None = None,
    ) -> list[Route]:
        """The same for prompts that are embedded already.

        Args:
            probability: What :meth:`cluster` gives.
            tokens: Lengths of the prompts, as ``count_tokens`` gives them [tokens].
            cost_weight: As in :meth:`route`, like all that follow.
            latency_weight: As there.
            caution: As there.
            llms: As there.

        Raises:
            PoolError: As there.
        """
        chooser = self.chooser(cost_weight, latency_weight=latency_weight, caution=caution, llms=llms)
        return chooser.routes(probability, tokens)

    @torch.inference_mode()
    def choose(
        self,
        prompts: Sequence[str],
        cost_weight: float | None = None,
        *,
        latency_weight: float | None = None,
        caution: float | None = None,
        llms: Sequence[str] | None = None,
    ) -> list[str]:
        """Name the LLM for each prompt: the choice of :meth:`route` without its reasons, for large batches.

        Arguments and errors are those of :meth:`route`. Memory does not grow with prompts x LLMs.
        """
        chooser = self.chooser(cost_weight, latency_weight=latency_weight, caution=caution, llms=llms)
        chosen = chooser.choose(self.cluster(prompts), count_tokens(prompts))
        return [chooser.pool.names[column] for column in chosen.tolist()]

    @torch.inference_mode()
    def choose_and_estimate(
        self,
        prompts: Sequence[str],
        cost_weight: float | None = None,
        *,
        latency_weight: float | None = None,
        caution: float | None = None,
        llms: Sequence[str] | None = None,
    ) -> tuple[LLMIndex, ErrorMatrix]:
        """The choices of :meth:`route` as positions in ``pool.names``, and the estimated error of every LLM.

        Arguments and errors are those of :meth:`route`.
        """
        chooser = self.chooser(cost_weight, latency_weight=latency_weight, caution=caution, llms=llms)
        probability = self.cluster(prompts)
        chosen = chooser.choose(probability, count_tokens(prompts))
        return chosen.cpu(), chooser.estimate_error(probability).cpu()

    @property
    def cost_weight(self) -> float:
        """The cost weight that is taken where none is given: that of the pool's target, or 0.1."""
        return self.chooser().cost_weight if self.pool.names else DEFAULT_COST_WEIGHT

    def prompt_cost(self, pool: LLMPool) -> PromptCost:
        """What prompts cost with each LLM of a pool, in its cost unit; typical prompts are the calibration prompts."""
        return cost_of_prompts(self.head, self.calibration, pool)

    def add_llm(
        self,
        name: str,
        scores: Mapping[str, float],
        cost: float,
        *,
        tokens: TokenPrices | None = None,
        flip_rate: float | None = 0.0,
    ) -> None:
        """Let a new LLM join the pool from its outcomes on calibration prompts; nothing is trained.

        Other changes are those of :class:`LLMPool`: ``router.pool = router.pool.without_llm(name)``.

        Args:
            name: A name that the pool does not hold yet.
            scores: Quality in [0, 1] of its answer to calibration prompts, by prompt id; some may be left out.
            cost: Cost of one call, in ``pool.cost_unit``.
            tokens: What comes to it where the LLM is paid by the token.
            flip_rate: Share of the scores that say the opposite of the truth, in [0, 0.5); None to estimate it.

        Raises:
            PoolError: There are no scores, a prompt id is not one of ``calibration.prompt_ids``, a score is outside
                [0, 1], the name is taken, a cost is negative or not finite, prices are given and no length, or the flip
                rate cannot be used.
        """
        token_cost = None if tokens is None else sum_output_tokens(self.calibration, tokens)
        sums = sum_scores(self.calibration, name, scores, flip_rate)
        self.pool = self.pool.with_llm(PooledLLM(name=name, cost=cost, sums=sums, token_cost=token_cost))

    def add_outcomes(self, name: str, scores: Mapping[str, float]) -> None:
        """Add outcomes on further calibration prompts to those by which an LLM of the pool is known.

        Unlike :meth:`observe` this is calibration: it is no evidence of drift. A prompt that was among its outcomes
        before would count twice.

        Args:
            name: The LLM.
            scores: Quality in [0, 1] of its answers, by prompt id.

        Raises:
            PoolError: The pool has no such LLM, there are no scores, a prompt id is not one of
                ``calibration.prompt_ids``, or a score is outside [0, 1].
        """
        before, more = self.pool[name].sums, sum_scores(self.calibration, name, scores)
        sums = ClusterSums(before.error + more.error, before.weight + more.weight)
        self.pool = self.pool.with_changes(name, sums=sums)

    def observe(
        self, name: str, prompts: Sequence[str], scores: Sequence[float], *, half_life: float = math.inf
    ) -> DriftTest:
        """Add outcomes of prompts that an LLM of the pool answered in use, and test whether it still errs as estimated.

        Without forgetting, the order of outcomes does not matter, also over replicas.

        Args:
            name: The LLM.
            prompts: What it answered, in order.
            scores: Quality of each answer, in [0, 1].
            half_life: After how many further outcomes of it one counts half [prompts]; infinite to forget nothing.

        Returns:
            The test with all outcomes since the LLM joined; it compares with the errors estimated before the first.

        Raises:
            PoolError: The pool has no such LLM, there are not as many scores as prompts, a score is outside [0, 1], or
                the half-life is not positive. The pool stays as it was.
        """
        probability = cluster_prompts(self.head, self.encoder, prompts)
        self.pool = observe(self.head, self.pool, name, probability, scores, half_life)
        test = self.pool[name].drift
        assert test is not None
        return test

    @torch.inference_mode()
    def calibrate(
        self,
        prompts: Mapping[str, str],
        scores: Mapping[str, Mapping[str, float]],
        cost: Mapping[str, float],
        *,
        cost_unit: str = "US dollars per prompt",
        cost_is_estimate: bool = False,
        embedding: Embedding | None = None,
    ) -> None:
        """Take other calibration prompts and another pool, from outcomes alone; nothing is trained.

        So a router that was trained elsewhere serves prompts and LLMs that it has never met.

        Args:
            prompts: Text of each calibration prompt, by prompt id.
            scores: Quality in [0, 1] of the answers of each LLM, by its name and prompt id; some may be left out.
            cost: Cost of one prompt for each LLM, by its name. The highest becomes the reference cost.
            cost_unit: What the costs are measured in, for people.
            cost_is_estimate: Whether the costs were estimated, not billed or listed.
            embedding: Embeddings of the prompts by this router's encoder, where they are known.

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
        embedding = self.encoder.embed(texts) if embedding is None else embedding
        probability = cluster_embedding(self.head, embedding)
        calibration = CalibrationPrompts(prompt_ids=tuple(prompts), texts=texts, cluster_probability=probability)
        outcomes = [errors_of(calibration, name, its_scores) for name, its_scores in scores.items()]
        error, observed = (torch.cat(parts, dim=1) for parts in zip(*outcomes, strict=True))
        costs = [cost[name] for name in scores]
        self.calibration, self.pool = pool_of_outcomes(
            calibration,
            list(scores),
            costs,
            error,
            observed,
            cost_unit=cost_unit,
            cost_is_estimate=cost_is_estimate,
        )
        self.saved = None

    def save_pretrained(self, folder: str | Path, *, with_encoder: bool = True) -> None:
        """Write the router as one folder: safetensors, JSON, the encoder in Hugging Face layout, and a card.

        The folder appears whole or not at all; a router that lay there is replaced. In the folder that the router was
        loaded from the history of its pool goes on; elsewhere it starts anew. Where only the pool changed,
        :meth:`save_pool` writes less.

        Args:
            folder: Where to write.
            with_encoder: Whether to copy the encoder; a reference with its checksum is written otherwise.

        Raises:
            ArtifactError: The folder exists and holds something else than a router.
            PoolConflictError: Somebody else changed the pool in the folder since this router read it.
        """
        parts = RouterParts(
            encoder=self.encoder, head=self.head, pool=self.pool, calibration=self.calibration, about=self.about
        )
        self.saved = write_router(Path(folder).absolute(), parts, self.saved, with_encoder=with_encoder)

    def push_to_hub(
        self, repo_id: str, *, private: bool | None = None, token: str | None = None, message: str = "Add the router"
    ) -> str:
        """Put the router on the Hugging Face hub, as :meth:`save_pretrained` writes it; replaces what is there.

        Args:
            repo_id: ``owner/name``; made where missing.
            private: Whether a new repository is private; as the owner's settings say where not given.
            token: A token that may write; the one of `hf auth login` when not given.
            message: Of the commit.

        Returns:
            Address of the commit.

        Raises:
            ArtifactError: The name is no hub id, the hub cannot be reached, or the token does not allow it.
        """
        saved = self.saved
        try:
            with tempfile.TemporaryDirectory() as place:
                self.save_pretrained(Path(place) / "router")
                return push_folder(Path(place) / "router", repo_id, private=private, token=token, message=message)
        finally:
            self.saved = saved

    def save_pool(self, what: str, *, data: Path | Sequence[Path] = ()) -> None:
        """Write the pool as it is now into the router's folder, as the next revision; nothing else is written.

        Args:
            what: What was changed, for the history.
            data: File or folder that the change was made from, or several; the history keeps names and a checksum.

        Raises:
            PoolConflictError: Somebody else changed the pool in the folder since this router read it.
            PoolError: The router lies in no folder, or the pool's target counts a latency that is not known.
        """
        self.pool.check_latency(self.pool.latency_weight)  # here, rather than at every route from now on
        self._in_folder().write(self.pool, PoolChange.by_this_user(what, data=data))

    def change_pool(self, change: Callable[[], None], what: str, *, data: Path | Sequence[Path] = ()) -> None:
        """Make a change of the pool and save it; where somebody else was quicker, make it again on top of theirs.

        Args:
            change: Changes :attr:`pool`; nothing else may be unsaved.
            what: As in :meth:`save_pool`.
            data: As there.

        Raises:
            PoolError: The router lies in no folder.
        """
        while True:
            change()
            try:
                return self.save_pool(what, data=data)
            except PoolConflictError:
                self.reload_pool()

    def reload_pool(self) -> bool:
        """Take the pool as it lies in the router's folder now; changes that were not saved are dropped.

        Returns:
            Whether the folder holds another revision than before.

        Raises:
            ArtifactError: The latest revision is damaged or belongs to another head. The pool stays as it was.
            PoolError: The router lies in no folder.
        """
        saved = self._in_folder()
        has_changed = saved.reload()
        self.pool = saved.revision.pool
        return has_changed

    def undo_pool(self, to: int | None = None) -> None:
        """Bring an earlier pool back, as the next revision in the router's folder; unsaved changes are dropped.

        Args:
            to: Number of the revision to bring back. When not given, the one before the latest change that was not
                undone, so that calls in a row go back step by step.

        Raises:
            PoolError: Nothing is left to undo, or the router lies in no folder.
            ArtifactError: There is no such revision, or it is damaged.
        """
        self.reload_pool()
        saved = self._in_folder()
        saved.undo(to)
        self.pool = saved.revision.pool

    def pool_history(self) -> list[PoolRevision]:
        """All revisions of the pool in the router's folder, the first one first.

        Raises:
            ArtifactError: One is damaged.
            PoolError: The router lies in no folder.
        """
        return self._in_folder().history()

    def _in_folder(self) -> SavedPool:
        if self.saved is None:
            raise PoolError("router: it lies in no folder as it is. Call save_pretrained first.")
        return self.saved

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None) -> "Router":
        """Load a router that :meth:`save_pretrained` wrote, one that comes with the package, or one from the hub.

        Args:
            name: The router's folder, the name of a bundled router: ``unirouter-minilm``, or a hub id: ``owner/name``.
            revision: Branch, tag or commit on the hub; the hub's default when not given.

        Raises:
            ArtifactError: The folder is missing, damaged, no router, or of a newer format, the encoder that it
                refers to is another one, or the hub does not have it or cannot be reached.
        """
        parts, saved = read_router(name, revision)
        router = cls(**parts._asdict()).eval()
        router.saved = saved
        return router
