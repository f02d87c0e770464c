"""Outcomes of prompts that were answered in use: into the pool, and past the drift alarm."""

from collections.abc import Sequence

import torch

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.cluster_error import estimate_error
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.feedback import add_outcomes
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.shapes import ClusterProbability


@torch.inference_mode()
def observe(
    head: ClusterHead,
    pool: LLMPool,
    name: str,
    probability: ClusterProbability,
    scores: Sequence[float],
    half_life: float,
) -> tuple[LLMPool, DriftTest]:
    """The pool after further outcomes of one of its LLMs, and the test for drift of that LLM.

    Args:
        head: That of the router.
        pool: The pool before.
        name: The LLM.
        probability: Cluster probabilities of the prompts that it answered, in order, on the CPU.
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
    before = llm.drift or DriftTest.new(llm.sums)
    error = 1 - torch.tensor(scores, dtype=probability.dtype)
    estimated = estimate_error(probability, head.cluster_error(before.reference.to(head.device)).cpu()).squeeze(1)
    test = before.after(error, estimated)
    return pool.with_changes(name, sums=add_outcomes(llm.sums, probability, error, half_life), drift=test), test
