"""The router: encoder, cluster head and pool, saved and loaded as one folder."""

# over 300 lines: the public face, one short method for each call; two thirds are signatures and docstrings

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unirouter_torch.config.choice import Choice
from unirouter_torch.config.router import DEFAULT_COST_WEIGHT, Backend
from unirouter_torch.encoder.prompt_encoder import PromptEncoder, count_tokens
from unirouter_torch.errors import PoolError
from unirouter_torch.messages import Prompt
from unirouter_torch.router.backend import share_of_equal_choices
from unirouter_torch.router.calibration import CalibrationPrompts, TokenPrices, calibrated_pool, new_llm, sum_scores
from unirouter_torch.router.chooser import Chooser, KeptChoosers
from unirouter_torch.router.observation import observe
from unirouter_torch.router.route import Route
from unirouter_torch.router.router_files import RouterParts, push_router, read_router, write_router
from unirouter_torch.router.saved_encoder import SavedEncoder
from unirouter_torch.router.saved_pool import FolderPool
from unirouter_torch.routing.cluster_error import estimate_error
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.shapes import ClusterProbability, Embedding, ErrorMatrix, LLMIndex


class Router(FolderPool, nn.Module):
    """Sends each prompt to the LLM with the smallest estimated error plus weighted cost.

    The estimated error is one inner product, ``p(x) . Psi(h)``: the cluster probabilities of the prompt and the cluster
    errors of the LLM. All calls that choose take the options of :meth:`chooser`, and raise what it raises.

    Args:
        encoder: Embeds prompts. That of a saved router is read when it is first needed, so that a pool is looked at and
            changed without it.
        head: Turns embeddings into cluster probabilities.
        pool: The LLMs.
        calibration: The prompts that represent an LLM.
        about: Facts for the card (data, split, metrics); JSON types only.

    Example:
        >>> router = Router.from_pretrained("runs/quickstart/router")
        >>> router.route(["What is 17 + 25?"], cost_weight=0.1)[0].llm
    """

    encoder: PromptEncoder
    equal_choices: float | None = None
    """Share of choices for calibration prompts that the backend of the encoder left as torch makes them, in [0, 1];
    None with torch, and without LLMs."""

    def __init__(
        self,
        *,
        encoder: PromptEncoder | SavedEncoder,
        head: ClusterHead,
        pool: LLMPool,
        calibration: CalibrationPrompts,
        about: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._saved_encoder = encoder if isinstance(encoder, SavedEncoder) else None
        if isinstance(encoder, PromptEncoder):
            self.encoder = encoder
        self.head = head
        self.pool = pool
        self.calibration = calibration
        self.about = dict(about)

    def __setattr__(self, name: str, value: Any) -> None:
        """As any module's; what was made of another pool or of other calibration prompts is forgotten."""
        super().__setattr__(name, value)
        if name in ("pool", "calibration"):
            self._choosers = KeptChoosers()

    def __getattr__(self, name: str) -> Any:
        """As any module's; the encoder of a saved router is loaded at its first use."""
        if name == "encoder" and self._saved_encoder is not None:
            self.encoder = self._saved_encoder.load()
            self._saved_encoder = None
        return super().__getattr__(name)

    def named_modules(self, *arguments: Any, **options: Any) -> Iterator[tuple[str, nn.Module]]:
        """As any module's, the encoder among them: it is loaded here, so that no weight is missed."""
        _ = self.encoder
        yield from super().named_modules(*arguments, **options)

    def _apply(self, *arguments: Any, **options: Any) -> "Router":
        _ = self.encoder  # to another device it goes with the rest
        super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]
        return self

    @property
    def conversation(self) -> str:
        """How a conversation becomes its prompt; known without the encoder."""
        return self.encoder.recipe.conversation if self._saved_encoder is None else self._saved_encoder.conversation

    def forward(self, embedding: Embedding) -> ErrorMatrix:
        """Estimated error in [0, 1] of every LLM of the pool on prompts with the given embeddings."""
        return estimate_error(self.head(embedding), self.head.cluster_error(self.pool.sums.to(self.head.device)))

    @torch.inference_mode()
    def estimate_error(self, prompts: Sequence[Prompt]) -> ErrorMatrix:
        """Estimated error in [0, 1] of every LLM of the pool (columns as in ``pool.names``) on each prompt."""
        return estimate_error(self.cluster(prompts), self.head.cluster_error(self.pool.sums.to(self.head.device))).cpu()

    @torch.inference_mode()
    def cluster(self, prompts: Sequence[Prompt]) -> ClusterProbability:
        """Cluster probabilities of prompts, on the device of the head: what a :class:`Chooser` takes."""
        return self._clustered(prompts)[0]

    @torch.inference_mode()
    def _clustered(self, prompts: Sequence[Prompt]) -> tuple[ClusterProbability, Float[Tensor, " prompt"]]:
        """Cluster probabilities and lengths of prompts [tokens]; conversations become text once."""
        texts = self.texts(prompts)
        return self.head(self.encoder.embed(texts).to(self.head.device)), count_tokens(texts)

    def texts(self, prompts: Sequence[Prompt]) -> list[str]:
        """The texts that prompts are routed by: conversations become text as this router was trained to read them.

        Raises:
            PoolError: ``prompts`` is one string.
            DataError: A prompt is neither text nor a conversation.
        """
        if isinstance(prompts, str):
            raise PoolError("prompts: got one string, expected a list of prompts. Write router.route([prompt]).")
        return self.encoder.texts(prompts)

    def chooser(self, cost_weight: float | None = None, **choice: Unpack[Choice]) -> Chooser:
        """What all choices with these options are made by; a change of head or pool takes effect at the next call.

        Args:
            cost_weight: Error accepted to save one reference cost [1].
            choice: ``latency_weight``, what a second costs [cost unit / second]; ``caution``, how sure to be that a
                cluster error is not underestimated, in [0.5, 1); ``llms``, names of the LLMs that may be chosen. What
                is taken where one is not given is said in :meth:`Chooser.of`.

        Raises:
            PoolError: As there.
        """
        # looked up before the pool, so that what is made of a pool that another thread replaces is not kept
        return self._choosers.of(self.head, self.calibration, self.pool, cost_weight, **choice)

    def route(
        self, prompts: Sequence[Prompt], cost_weight: float | None = None, **choice: Unpack[Choice]
    ) -> list[Route]:
        """Choose an LLM for each prompt.

        Args:
            prompts: Texts to route, and conversations: lists of messages, each with role and content.
            cost_weight: Error accepted to save one reference cost; 0 asks for quality alone.
            choice: ``latency_weight``, ``caution`` and ``llms``, as in :meth:`chooser`.

        Returns:
            One route for each prompt, in order. Equal totals go to the cheaper LLM.

        Raises:
            PoolError: As there, ``prompts`` is one string, or one of them fits no LLM.
        """
        chooser = self.chooser(cost_weight, **choice)
        return chooser.routes(*self._clustered(prompts))

    def choose(
        self, prompts: Sequence[Prompt], cost_weight: float | None = None, **choice: Unpack[Choice]
    ) -> list[str]:
        """Name the LLM that :meth:`route` chooses for each prompt, in memory that does not grow with prompts x LLMs."""
        chooser = self.chooser(cost_weight, **choice)
        chosen = chooser.choose(*self._clustered(prompts))
        return [chooser.pool.names[column] for column in chosen.tolist()]

    def choose_and_estimate(
        self, prompts: Sequence[Prompt], cost_weight: float | None = None, **choice: Unpack[Choice]
    ) -> tuple[LLMIndex, ErrorMatrix]:
        """The choices of :meth:`route` as positions in ``pool.names``, and the estimated error of every LLM."""
        chooser = self.chooser(cost_weight, **choice)
        probability, tokens = self._clustered(prompts)
        return chooser.choose(probability, tokens).cpu(), chooser.estimate_error(probability).cpu()

    @property
    def cost_weight(self) -> float:
        """The cost weight that is taken where none is given: that of the pool's target, or 0.1."""
        return self.chooser().cost_weight if self.pool.names else DEFAULT_COST_WEIGHT

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
            PoolError: As :func:`new_llm`, or the name is taken.
        """
        self.pool = self.pool.with_llm(new_llm(self.calibration, name, scores, cost, tokens, flip_rate))

    def add_outcomes(self, name: str, scores: Mapping[str, float]) -> None:
        """Add outcomes on further calibration prompts to those by which an LLM of the pool is known.

        Unlike :meth:`observe` this is calibration: it is no evidence of drift. A prompt that was among its outcomes
        before would count twice.

        Args:
            name: The LLM.
            scores: Quality in [0, 1] of its answers, by prompt id.

        Raises:
            PoolError: As :func:`sum_scores`, or the pool has no such LLM.
        """
        sums = self.pool[name].sums.merged(sum_scores(self.calibration, name, scores))
        self.pool = self.pool.with_changes(name, sums=sums)

    def observe(
        self, name: str, prompts: Sequence[Prompt], scores: Sequence[float], *, half_life: float = math.inf
    ) -> DriftTest:
        """Add outcomes of prompts that an LLM of the pool answered in use, and test whether it still errs as estimated.

        Args:
            name: The LLM.
            prompts: What it answered, in order; without forgetting, the order does not matter.
            scores: Quality of each answer, in [0, 1].
            half_life: After how many further outcomes of it one counts half [prompts]; infinite to forget nothing.

        Returns:
            The test with all outcomes since the LLM joined; it compares with the errors estimated before the first.

        Raises:
            PoolError: As :func:`observe`. The pool stays as it was.
        """
        self.pool, test = observe(self.head, self.pool, name, self.cluster(prompts).cpu(), scores, half_life)
        return test

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
            PoolError: As :func:`calibrated_pool`. The router is left as it was.
        """
        cluster = self.cluster if embedding is None else lambda _: self.head(embedding.to(self.head.device))
        self.calibration, self.pool = calibrated_pool(
            prompts, scores, cost, cluster, cost_unit=cost_unit, cost_is_estimate=cost_is_estimate
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
        self.saved = write_router(Path(folder).absolute(), self._parts(), self.saved, with_encoder=with_encoder)

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
        return push_router(self._parts(), repo_id, private=private, token=token, message=message)

    def _parts(self) -> RouterParts:
        return RouterParts(self.encoder, self.head, self.pool, self.calibration, self.about)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, backend: Backend = "torch") -> "Router":
        """Load a router that :meth:`save_pretrained` wrote, one that comes with the package, or one from the hub.

        Args:
            name: The router's folder, the name of a bundled router: ``unirouter-minilm``, or a hub id: ``owner/name``.
            revision: Branch, tag or commit on the hub; the hub's default when not given.
            backend: What runs the encoder where it is a transformer: ``torch``, or ``onnx`` and ``onnx-int8`` (ONNX
                Runtime on the CPU, extra ``onnx``). With these the encoder is loaded here, and :attr:`equal_choices`
                says how faithful it is.

        Returns:
            The router. Its encoder is loaded at its first use; whatever is wrong with the one in the folder, but for
            its numbers, shows here, and what is wrong with one that the router refers to shows there.

        Raises:
            ArtifactError: The folder is missing, damaged, no router, or of a newer format, or the hub does not have it
                or cannot be reached. The first use of the encoder raises it where the one that the router refers to is
                not found or is another one, or a number is not finite.
            ConfigError: Another backend than ``torch`` for a static encoder, or without its packages.
        """
        parts, saved = read_router(name, revision, backend)
        router = cls(**parts._asdict()).eval()
        router.saved = saved
        if backend != "torch":
            router.equal_choices = share_of_equal_choices(router)
        return router
