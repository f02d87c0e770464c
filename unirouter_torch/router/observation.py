"""Outcomes of prompts that were answered in use: into the pool, and past the drift alarm."""

from collections.abc import Sequence

import torch

from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import PoolError
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.feedback import add_outcomes
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.shapes import ClusterProbability, Embedding


@torch.inference_mode()
def cluster_prompts(head: ClusterHead, encoder: PromptEncoder, prompts: Sequence[str]) -> ClusterProbability:
    """Cluster probabilities of prompts, on the CPU."""
    return cluster_embedding(head, encoder.embed(prompts))


@torch.inference_mode()
def cluster_embedding(head: ClusterHead, embedding: Embedding) -> ClusterProbability:
    """Cluster probabilities of embedded prompts, on the CPU."""
    probability: ClusterProbability = head(embedding.to(head.log_shrinkage.device)).cpu()
    return probability


@torch.inference_mode()
def observe(
    head: ClusterHead,
    pool: LLMPool,
    name: str,
    probability: ClusterProbability,
    scores: Sequence[float],
    half_life: float,
) -> LLMPool:
    """The pool after further outcomes of one of its LLMs.

    Args:
        head: That of the router.
        pool: The pool before.
        name: The LLM.
        probability: Cluster probabilities of the prompts that it answered, in order.
        scores: Quality of each answer, in [0, 1].
        half_life: After how many further outcomes of it one counts half [prompts], positive.

    Raises:
        PoolError: The pool has no such LLM, there are not as many scores as prompts, a score is outside [0, 1], or the
            half-life is not positive.
    """
    if len(scores) != len(probability):
        raise PoolError(f"scores of {name!r}: got {len(scores)} for {len(probability)} prompts, expected one for each.")
    bad = [score for score in scores if not 0 <= score <= 1]
    if bad:
        raise PoolError(f"scores of {name!r}: got {bad[0]}, expected scores in [0, 1].")
    llm = pool[name]
    test = llm.drift or DriftTest.new(llm.sums)
    error = 1 - torch.tensor(scores, dtype=probability.dtype)
    device = head.log_shrinkage.device
    features = head.cluster_error(ClusterSums(*(part.to(device) for part in test.reference))).cpu()
    test = test.after(error, estimate_error(probability, features).squeeze(1))
    return pool.with_changes(name, sums=add_outcomes(llm.sums, probability, error, half_life), drift=test)
