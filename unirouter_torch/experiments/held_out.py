"""What a router gives on prompts whose outcomes are known."""

from typing import NamedTuple

import torch

from unirouter_torch.data.table import RoutingTable
from unirouter_torch.errors import DataError
from unirouter_torch.router.choosing import cluster_errors, count_latency
from unirouter_torch.router.observation import cluster_prompts
from unirouter_torch.router.router import Router
from unirouter_torch.routing.cluster_error import estimate_error
from unirouter_torch.routing.target import choose_by_cost_matrix
from unirouter_torch.routing.token_cost import count_tokens


class HeldOut(NamedTuple):
    """Means over held-out prompts, each routed among the LLMs that were observed on it.

    Attributes:
        num_prompts: Prompts with an outcome of an LLM that the router may choose.
        expected_cost: Expected cost of the chosen LLMs [cost unit].
        expected_quality: 1 - estimated error of the chosen LLMs.
        cost: What was billed for the chosen answers [US dollars]; none where that is not known of all.
        quality: Observed quality of the chosen answers.
    """

    num_prompts: int
    expected_cost: float
    expected_quality: float
    cost: float | None
    quality: float


@torch.inference_mode()
def judge_on_table(router: Router, table: RoutingTable, cost_weight: float, latency_weight: float = 0.0) -> HeldOut:
    """Route the prompts of a table, and look up what came of it.

    Args:
        router: The router.
        table: Prompts and outcomes.
        cost_weight: Error accepted to save one reference cost [1].
        latency_weight: What a second costs [cost unit / second]; expected costs then contain it.

    Raises:
        DataError: The table tells of no LLM that the router may choose.
        PoolError: A latency counts that is not known.
    """
    pool = count_latency(router.pool, latency_weight)
    known = [name for name in table.llm_names if name in pool.names and name not in pool.disabled]
    if not known:
        raise DataError(f"{table.name}: none of its {table.num_llms} LLMs is one that the router may choose.")
    columns = [table.llm_names.index(name) for name in known]
    observed = table.observed[:, columns]
    prompts = observed.any(-1).nonzero().squeeze(-1)
    texts = [table.prompt_texts[row] for row in prompts.tolist()]
    probability, rows = cluster_prompts(router.head, router.encoder, texts), [pool.find(name) for name in known]
    estimated = estimate_error(probability, cluster_errors(router.head, pool).cpu())[:, rows]
    cost = router.prompt_cost(pool).of_prompts(probability, count_tokens(texts))[:, rows]
    open_to = estimated.double().masked_fill(~observed[prompts], torch.inf)
    chosen = choose_by_cost_matrix(open_to, cost / pool.reference_cost, cost_weight)[:, None]

    def mean(values: torch.Tensor) -> float:
        return float(values.gather(1, chosen).double().mean())

    billed = None if table.pair_cost is None else mean(table.pair_cost[prompts][:, columns])
    return HeldOut(
        num_prompts=len(prompts),
        expected_cost=mean(cost),
        expected_quality=1 - mean(estimated),
        cost=None if billed is None or billed != billed else billed,
        quality=1 - mean(table.error[prompts][:, columns]),
    )
