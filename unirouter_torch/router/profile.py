"""What a router knows of one of its LLMs, for people."""

import math
from dataclasses import dataclass
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.config.choice import Choice
from unirouter_torch.config.router import DEFAULT_COST_WEIGHT
from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.router.calibration import cost_of_prompts
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.router.explanation import LEVEL, examples_of
from unirouter_torch.router.router import Router
from unirouter_torch.routing.cluster_error import overall_error
from unirouter_torch.shapes import ClusterError

COST_WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
"""Cost weights at which the traffic of an LLM is told."""

_NUM_RELATIVES = 5


@dataclass(frozen=True, kw_only=True)
class ClusterStanding:
    """How an LLM does in one cluster.

    Attributes:
        cluster: Number of the cluster.
        share: Part of the calibration prompts that belongs to it, in [0, 1].
        outcomes: Outcomes of the LLM in it [prompts].
        error: Cluster error, in [0, 1].
        interval: Ends of the 90 % interval of the cluster error.
        pool_error: Mean cluster error of the pool's LLMs.
        examples: Calibration prompts with the highest probability of this cluster.
    """

    cluster: int
    share: float
    outcomes: float
    error: float
    interval: tuple[float, float]
    pool_error: float
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LLMProfile:
    """What a router knows of one LLM.

    Attributes:
        name: Its name.
        is_available: Whether it may be chosen.
        cost: Mean cost of a calibration prompt, in the pool's unit.
        outcomes: On how many calibration prompts it was observed.
        error: Mean error over these.
        clusters: How it does in each cluster, from the one where it is furthest ahead of the pool's mean to the one
            where it is furthest behind.
        relatives: Distance to the nearest other LLMs, nearest first: the root of the mean squared difference of cluster
            errors, each cluster with its share.
        traffic: Share of the calibration prompts that it takes at some cost weights, or would if it were available;
            empty where its latency counts and is not known.
        takes_from: Least cost weight at which it takes any of them; none where it never does.
        takes_to: Cost weight from which on it takes none any more; none where there is no such.
    """

    name: str
    is_available: bool
    cost: float
    outcomes: float
    error: float
    clusters: tuple[ClusterStanding, ...]
    relatives: dict[str, float]
    traffic: dict[float, float]
    takes_from: float | None
    takes_to: float | None


@torch.inference_mode()
def profile_llm(
    router: Router,
    name: str,
    **choice: Unpack[Choice],
) -> LLMProfile:
    """What a router knows of one LLM.

    Args:
        router: The router.
        name: Name of the LLM.
        choice: Traffic is that of choices with these options, as in :meth:`Router.chooser`.

    Raises:
        PoolError: The pool has no LLM of that name, or an option is out of range.
    """
    pool, row, calibration = router.pool, router.pool.find(name), router.calibration
    features = router.head.cluster_error(pool.sums.to(router.head.device)).cpu()
    probability = calibration.cluster_probability
    share = probability.mean(0)
    distance = ((features - features[row]).square() @ share).sqrt()
    others = [other for other in distance.argsort(stable=True).tolist() if other != row]
    start, end = _winning_range(router, name, choice)
    takes = start < end
    last = float(end[takes].max()) if takes.any() else math.inf
    return LLMProfile(
        name=name,
        is_available=bool(pool.available[row]),
        cost=float(cost_of_prompts(router.head, calibration, pool).typical[row]),
        outcomes=float(pool.sums.weight[row].sum()),
        error=float(overall_error(pool.sums)[row]),
        clusters=_standings(router, row, features, share),
        relatives={pool.names[other]: float(distance[other]) for other in others[:_NUM_RELATIVES]},
        traffic={
            weight: float(((start <= weight) & (weight < end)).double().mean()) for weight in COST_WEIGHTS if len(start)
        },
        takes_from=float(start[takes].min()) if takes.any() else None,
        takes_to=last if last < math.inf else None,
    )


def _standings(
    router: Router, row: int, features: ClusterError, share: Float[Tensor, " cluster"]
) -> tuple[ClusterStanding, ...]:
    """How one LLM does in each cluster, the best first."""
    head, calibration = router.head, router.calibration
    sums = router.pool.llms[row].sums.to(head.device)
    low, high = (end[0].tolist() for end in head.cluster_error_quantiles(sums, (LEVEL, 1 - LEVEL)))
    pool_error = features.mean(0)
    order = (features[row] - pool_error).argsort(stable=True).tolist()
    return tuple(
        ClusterStanding(
            cluster=cluster,
            share=float(share[cluster]),
            outcomes=float(sums.weight[0, cluster]),
            error=float(features[row, cluster]),
            interval=(low[cluster], high[cluster]),
            pool_error=float(pool_error[cluster]),
            examples=examples_of(calibration, cluster),
        )
        for cluster in order
    )


def _winning_range(
    router: Router, name: str, choice: Choice
) -> tuple[Float[Tensor, " prompt"], Float[Tensor, " prompt"]]:
    """Range of cost weights over which an LLM wins each calibration prompt, without its end; empty where start >= end.

    There are no prompts where its latency counts and is not known.
    """
    calibration, pool = router.calibration, router.pool.with_changes(name, is_available=True)
    weight = choice.get("latency_weight")
    if pool[name].latency is None and (pool.latency_weight if weight is None else weight) > 0:
        return torch.zeros(0), torch.zeros(0)
    llms = choice.get("llms")
    among = choice | Choice(llms=None if llms is None else [*llms, name])
    chooser = Chooser.of(router.head, calibration, pool, cost_weight=DEFAULT_COST_WEIGHT, **among)
    curve = chooser.curve(calibration.cluster_probability, count_tokens(calibration.texts))
    start, end = curve.cost_weight.new_full((2, len(calibration.texts)), math.inf)
    end.neg_()
    until, mine = curve.until, curve.llm == pool.find(name)
    start[curve.prompt[mine]], end[curve.prompt[mine]] = curve.cost_weight[mine], until[mine]
    return start, end
