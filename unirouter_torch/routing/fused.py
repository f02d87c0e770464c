"""The routing rule as one kernel for CUDA: estimates, costs and the choice, without a matrix of prompts x LLMs.

It needs Triton, which comes with torch builds for CUDA. Import it only where that is there.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor

from unirouter_torch.shapes import ClusterError, ClusterProbability, CostVector, LLMIndex, LLMSubset

PROMPTS_OF_BLOCK, LLMS_OF_BLOCK, CLUSTERS_OF_BLOCK = 64, 64, 32
"""Prompts of one program, and the LLMs and clusters that it takes at a time; powers of two."""


def choose_fused(
    cluster_probability: ClusterProbability,
    cluster_error: ClusterError,
    added: CostVector,
    tolerance: float,
    available: tuple[Bool[Tensor, "prompt all_llms"], LLMSubset] | None = None,
) -> tuple[LLMIndex, Float[Tensor, " prompt"]]:
    """Find the first least ``p(x) . Psi(h) + added`` of each prompt.

    Each program sweeps twice over the LLMs for its prompts: for the least sum, then for the first that ties with it.
    One sweep is not enough, because a later least sum may leave an earlier, once forgotten one within a tie.

    Args:
        cluster_probability: Soft assignment of the prompts.
        cluster_error: Cluster errors of the LLMs, in the order of ties, in float32.
        added: What the cost of each LLM adds to its error, in float32.
        tolerance: Largest difference of two sums that counts as none.
        available: Which LLMs may be chosen for which prompt, and the column there of each LLM here; all by default.

    Returns:
        Row of ``cluster_error`` for each prompt, and its least sum: infinite where it has no LLM.
    """
    num_prompts, num_clusters = cluster_probability.shape
    place = torch.zeros(num_prompts, dtype=torch.int32, device=cluster_probability.device)
    least = torch.empty(num_prompts, dtype=torch.float32, device=cluster_probability.device)
    is_open, column = available if available is not None else (least, place)
    _choose[(triton.cdiv(num_prompts, PROMPTS_OF_BLOCK),)](
        cluster_probability.contiguous(),
        cluster_error.contiguous(),
        added,
        is_open.contiguous(),
        column,
        place,
        least,
        num_prompts,
        len(cluster_error),
        num_clusters,
        is_open.shape[-1],
        tolerance,
        has_mask=available is not None,
        prompt_block=PROMPTS_OF_BLOCK,
        llm_block=LLMS_OF_BLOCK,
        cluster_block=CLUSTERS_OF_BLOCK,
    )
    return place.long(), least


@triton.jit  # type: ignore[untyped-decorator]
def _choose(  # type: ignore[no-untyped-def]
    probability_at,
    error_at,
    added_at,
    open_at,
    column_at,
    place_at,
    least_at,
    num_prompts,
    num_llms,
    num_clusters,
    num_columns,
    tolerance,
    has_mask: tl.constexpr,
    prompt_block: tl.constexpr,
    llm_block: tl.constexpr,
    cluster_block: tl.constexpr,
):
    prompt = tl.program_id(0).to(tl.int64) * prompt_block + tl.arange(0, prompt_block)
    is_prompt = prompt < num_prompts
    least = tl.full((prompt_block,), float("inf"), tl.float32)
    place = tl.full((prompt_block,), 0, tl.int32) + num_llms
    for sweep in tl.static_range(2):
        for start in range(0, num_llms, llm_block):
            llm = start + tl.arange(0, llm_block)
            is_llm = llm < num_llms
            total = tl.zeros((prompt_block, llm_block), tl.float32)
            for first in range(0, num_clusters, cluster_block):
                cluster = first + tl.arange(0, cluster_block)
                is_cluster = cluster < num_clusters
                p = tl.load(
                    probability_at + prompt[:, None] * num_clusters + cluster[None, :],
                    mask=is_prompt[:, None] & is_cluster[None, :],
                    other=0.0,
                ).to(tl.float32)
                e = tl.load(
                    error_at + llm[None, :] * num_clusters + cluster[:, None],
                    mask=is_llm[None, :] & is_cluster[:, None],
                    other=0.0,
                )
                # no TF32: its rounding is far wider than a tie
                total += tl.dot(p, e, input_precision="ieee")
            total += tl.load(added_at + llm, mask=is_llm, other=float("inf"))[None, :]
            if has_mask:
                column = tl.load(column_at + llm, mask=is_llm, other=0)
                is_open = tl.load(
                    open_at + prompt[:, None] * num_columns + column[None, :],
                    mask=is_prompt[:, None] & is_llm[None, :],
                    other=0,
                )
                total = tl.where(is_open != 0, total, float("inf"))
            if sweep == 0:
                least = tl.minimum(least, tl.min(total, 1))
            else:
                ties = total <= (least + tolerance)[:, None]
                place = tl.minimum(place, tl.min(tl.where(ties, llm[None, :], num_llms), 1))
    tl.store(place_at + prompt, place, mask=is_prompt)
    tl.store(least_at + prompt, least, mask=is_prompt)
