"""What a router gives on prompts whose outcomes are known."""

from typing import NamedTuple, Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.config.choice import Choice
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.errors import DataError
from unirouter_torch.metrics.statistics import bootstrap_band
from unirouter_torch.router.router import Router


class HeldOut(NamedTuple):
    """Means over held-out prompts, each routed among the LLMs that were observed on it.

    Attributes:
        num_prompts: Prompts with an outcome of an LLM that the router may choose.
        expected_cost: Expected cost of the chosen LLMs [cost unit].
        expected_quality: 1 - estimated error of the chosen LLMs.
        cost: What was billed for the chosen answers [US dollars]; none where that is not known of all.
        cost_interval: Ends of its 95% bootstrap interval over the prompts; none likewise.
        quality: Observed quality of the chosen answers.
        quality_interval: Ends of its 95% bootstrap interval over the prompts.
    """

    num_prompts: int
    expected_cost: float
    expected_quality: float
    cost: float | None
    cost_interval: tuple[float, float] | None
    quality: float
    quality_interval: tuple[float, float]


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

    def of_chosen(values: Tensor, choice: Tensor) -> Tensor:
        return values.gather(1, choice).squeeze(1).double()

    quality = 1 - of_chosen(table.error[prompts], column)
    billed = None if table.pair_cost is None else of_chosen(table.pair_cost[prompts], column)
    if billed is not None and billed.isnan().any():
        billed = None
    return HeldOut(
        num_prompts=len(prompts),
        expected_cost=float(of_chosen(chooser.cost.of_prompts(probability, tokens), chosen).mean()),
        expected_quality=1 - float(of_chosen(chooser.estimate_error(probability), chosen).mean()),
        cost=None if billed is None else float(billed.mean()),
        cost_interval=None if billed is None else _interval(billed),
        quality=float(quality.mean()),
        quality_interval=_interval(quality),
    )


def _interval(values: Float[Tensor, " prompt"]) -> tuple[float, float]:
    """Ends of the 95% bootstrap interval of a mean over prompts."""
    band = bootstrap_band(values.unsqueeze(1).numpy())
    return float(band.low[0]), float(band.high[0])
