"""What a router gives on prompts whose outcomes are known."""

from typing import NamedTuple, Unpack

import torch

from unirouter_torch.config.choice import Choice
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.errors import DataError
from unirouter_torch.router.router import Router
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
def judge_on_table(
    router: Router,
    table: RoutingTable,
    cost_weight: float | None = None,
    **choice: Unpack[Choice],
) -> HeldOut:
    """Route the prompts of a table, and look up what came of it.

    Args:
        router: The router.
        table: Prompts and outcomes.
        cost_weight: As in :meth:`Router.chooser`.
        choice: As there; expected costs contain the latency.

    Raises:
        DataError: The table tells of no LLM that the router may choose.
        PoolError: As there.
    """
    chooser = router.chooser(cost_weight, **choice)
    names = chooser.pool.names
    may_be_chosen = dict(zip(names, chooser.may_be_chosen.tolist(), strict=True))
    column_of = {name: column for column, name in enumerate(table.llm_names) if may_be_chosen.get(name)}
    if not column_of:
        raise DataError(f"{table.name}: none of its {table.num_llms} LLMs is one that the router may choose.")
    columns = list(column_of.values())
    prompts = table.observed[:, columns].any(-1).nonzero().squeeze(-1)
    texts = [table.prompt_texts[row] for row in prompts.tolist()]
    probability, tokens = router.cluster(texts).cpu(), count_tokens(texts)
    observed = torch.zeros(len(texts), len(names), dtype=torch.bool)
    observed[:, [names.index(name) for name in column_of]] = table.observed[prompts][:, columns]
    routed = (observed & chooser.totals(probability, tokens).isfinite()).any(-1)
    prompts, probability, tokens, observed = (part[routed] for part in (prompts, probability, tokens, observed))
    chosen = chooser.choose(probability, tokens, observed)[:, None]
    column = torch.tensor([column_of.get(name, 0) for name in names])[chosen]

    def mean(values: torch.Tensor, of: torch.Tensor) -> float:
        return float(values.gather(1, of).double().mean())

    billed = None if table.pair_cost is None else mean(table.pair_cost[prompts], column)
    return HeldOut(
        num_prompts=len(prompts),
        expected_cost=mean(chooser.cost.of_prompts(probability, tokens), chosen),
        expected_quality=1 - mean(chooser.estimate_error(probability), chosen),
        cost=None if billed is None or billed != billed else billed,
        quality=1 - mean(table.error[prompts], column),
    )
