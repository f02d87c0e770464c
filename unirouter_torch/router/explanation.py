"""Why a prompt goes where it goes: estimates with intervals, clusters, and the cost weights at which that changes."""

from dataclasses import dataclass

import torch

from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.router.calibration import CalibrationPrompts
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.shapes import ClusterError, ClusterProbability

LEVEL = 0.05
"""Probability that an error is below its 90 % interval, and above it."""

NUM_EXAMPLES = 2
"""Calibration prompts that stand for a cluster."""

_NUM_CLUSTERS = 3
_LLMS_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class ExplainedLLM:
    """What is expected of one LLM on a prompt.

    Attributes:
        llm: Its name.
        estimated_error: Estimated error, in [0, 1].
        interval: Ends of the 90 % interval of the cluster errors, in the mean that the prompt's clusters give.
        cost: Expected cost, in the pool's unit; with that of its latency where that counts.
        total: Estimated error plus weighted cost; none where it may not be chosen.
    """

    llm: str
    estimated_error: float
    interval: tuple[float, float]
    cost: float
    total: float | None


@dataclass(frozen=True, kw_only=True)
class ClusterOfPrompt:
    """A cluster that a prompt belongs to.

    Attributes:
        cluster: Number of the cluster.
        probability: How much of the prompt belongs to it, in [0, 1].
        examples: Calibration prompts with the highest probability of this cluster.
    """

    cluster: int
    probability: float
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Where the choice changes.

    Attributes:
        cost_weight: From this cost weight on ...
        llm: ... the prompt goes to this LLM.
    """

    cost_weight: float
    llm: str


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Where one prompt goes, and why.

    Attributes:
        llm: The chosen LLM.
        llms: What is expected of each LLM, in the order of the pool.
        clusters: The clusters that the prompt belongs to the most.
        turns: The choice at all cost weights, from 0 upwards.
    """

    llm: str
    llms: tuple[ExplainedLLM, ...]
    clusters: tuple[ClusterOfPrompt, ...]
    turns: tuple[Turn, ...]


@torch.inference_mode()
def cluster_error_interval(head: ClusterHead, pool: LLMPool) -> tuple[ClusterError, ClusterError]:
    """Lower and upper ends of the 90 % intervals of the cluster errors of a pool, on the CPU."""
    sums = pool.sums.to(head.device)
    parts = [ClusterSums(*part) for part in zip(*(torch.split(part, _LLMS_AT_ONCE) for part in sums), strict=True)]
    ends = (head.cluster_error_quantiles(part, (LEVEL, 1 - LEVEL)) for part in parts)
    low, high = (torch.cat(end).cpu() for end in zip(*ends, strict=True))
    return low, high


def examples_of(calibration: CalibrationPrompts, cluster: int, num_examples: int = NUM_EXAMPLES) -> tuple[str, ...]:
    """The calibration prompts with the highest probability of a cluster."""
    probability = calibration.cluster_probability[:, cluster]
    nearest = probability.topk(min(num_examples, len(calibration.texts))).indices.tolist()
    return tuple(calibration.texts[prompt] for prompt in nearest)


@torch.inference_mode()
def explain(
    chooser: Chooser,
    calibration: CalibrationPrompts,
    interval: tuple[ClusterError, ClusterError],
    prompt: str,
    probability: ClusterProbability,
) -> Explanation:
    """Why a prompt goes where it goes.

    Args:
        chooser: What chooses.
        calibration: Its calibration prompts.
        interval: Those of its pool, as :func:`cluster_error_interval` gives them.
        prompt: The prompt.
        probability: Its cluster probabilities, one row.

    Raises:
        PoolError: No LLM that may be chosen takes a prompt of that length.
    """
    tokens, names = count_tokens([prompt]), chooser.pool.names
    (route,) = chooser.routes(probability, tokens)
    low, high = (estimate_error(probability.cpu(), end)[0].tolist() for end in interval)
    curve = chooser.curve(probability, tokens)
    turns = zip(curve.cost_weight.tolist(), curve.llm.tolist(), strict=True)
    shares, clusters = probability[0].topk(min(_NUM_CLUSTERS, probability.shape[1]))
    return Explanation(
        llm=route.llm,
        llms=tuple(
            ExplainedLLM(
                llm=name,
                estimated_error=route.estimated_error[name],
                interval=(low[row], high[row]),
                cost=route.cost[name],
                total=route.total.get(name),
            )
            for row, name in enumerate(names)
        ),
        clusters=tuple(
            ClusterOfPrompt(cluster=cluster, probability=share, examples=examples_of(calibration, cluster))
            for share, cluster in zip(shares.tolist(), clusters.tolist(), strict=True)
        ),
        turns=tuple(Turn(cost_weight=weight, llm=names[llm]) for weight, llm in reversed(list(turns))),
    )
