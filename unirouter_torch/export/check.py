"""Whether an export does what its router does."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unirouter_torch.encoder.padding import batches_by_tokens
from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.errors import ArtifactError
from unirouter_torch.export.graph import bytes_of
from unirouter_torch.export.tokenizer_file import Tokenize
from unirouter_torch.progress import progress
from unirouter_torch.router.backend import COST_WEIGHTS
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.router.router import Router
from unirouter_torch.shapes import LLMIndex

ROUNDING = 1e-4
"""Largest difference of estimates between two programs for the same float32 arithmetic [error]."""

Run = Callable[
    ...,
    tuple[Float[Tensor, "prompt llm"], Int[Tensor, " prompt"]],
]
"""An export as a function of the inputs of the graph, in order, to estimated errors and choices."""


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far an export may be from its router.

    Attributes:
        difference: Largest difference of an estimated error, in [0, 1].
        changed: Share of prompts for which another LLM may be chosen, in [0, 1].
    """

    difference: float
    changed: float


EXACT = Tolerance(difference=ROUNDING, changed=0.0)
"""For exports that compute in float32."""

ROUNDED = Tolerance(difference=1.0, changed=0.1)
"""For 8-bit weights: only the choices count."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An export beside its router on the router's calibration prompts.

    Attributes:
        num_prompts: Number of prompts compared, each at one of ``COST_WEIGHTS``.
        largest_difference: Largest difference of an estimated error, in [0, 1].
        changed_choices: Share of prompts for which the export chose an LLM that the router holds for worse, by more
            than twice ``ROUNDING``, in [0, 1].
        mean_added_total: How much worse, as the router holds it, the export's choices are: mean over all prompts of
            the difference in estimated error plus weighted cost [error].
    """

    num_prompts: int
    largest_difference: float
    changed_choices: float
    mean_added_total: float

    def check(self, tolerance: Tolerance) -> None:
        """Refuse an export that does something else than its router.

        Raises:
            ArtifactError: A difference is above its tolerance.
        """
        if self.largest_difference <= tolerance.difference and self.changed_choices <= tolerance.changed:
            return
        raise ArtifactError(
            f"export: differs from the router on its {self.num_prompts} calibration prompts: estimated errors by up to "
            f"{self.largest_difference:.2g} (allowed {tolerance.difference:.2g}), another LLM chosen for "
            f"{self.changed_choices:.1%} (allowed {tolerance.changed:.1%}). Nothing was written. Choose another format."
        )


@torch.inference_mode()
def compare(router: Router, chooser: Chooser, tokenize: Tokenize, run: Run) -> Comparison:
    """Send the router's calibration prompts through the router and through an export of it.

    Args:
        router: The router.
        chooser: What it chooses by; an export holds the LLMs that it may choose.
        tokenize: The tokenizer of the export.
        run: The export.
    """
    texts, llms = router.calibration.texts, chooser.may_be_chosen.nonzero().squeeze(-1)
    at_each = [chooser.at(weight) for weight in COST_WEIGHTS]
    cost_weight = torch.tensor([COST_WEIGHTS[row % len(COST_WEIGHTS)] for row in range(len(texts))])
    difference, added = 0.0, torch.zeros(len(texts))
    lengths = [len(row) for row in router.encoder.tokenize_rows(texts)]
    batches = batches_by_tokens(lengths, router.encoder.tokens_per_batch)
    for rows in progress(batches, "Comparing with the router"):
        batch = [texts[row] for row in rows]
        num_characters = torch.tensor([len(text) for text in batch])
        estimated, choice = run(*tokenize(batch), cost_weight[rows], num_characters, *bytes_of(router.encoder, batch))
        probability = router.cluster(batch)
        expected = chooser.estimate_error(probability)[:, llms]
        difference = max(difference, (estimated - expected).abs().max().item())
        totals = torch.stack([one.totals(probability, count_tokens(batch)) for one in at_each])
        which = torch.tensor(rows) % len(COST_WEIGHTS)
        added[rows] = _above_least(totals[which, torch.arange(len(rows))][:, llms], choice)
    return Comparison(
        num_prompts=len(texts),
        largest_difference=difference,
        changed_choices=(added > 2 * ROUNDING).float().mean().item(),
        mean_added_total=added.mean().item(),
    )


def _above_least(total: Float[Tensor, "prompt llm"], choice: LLMIndex) -> Float[Tensor, " prompt"]:
    """Estimated error plus weighted cost of the given choices above that of the router's own; 0 where it has none."""
    chosen = total.gather(1, choice.clamp(min=0)[:, None]).squeeze(1).masked_fill(choice < 0, math.inf)
    return (chosen - total.amin(1)).nan_to_num(nan=0.0, posinf=math.inf).float()
