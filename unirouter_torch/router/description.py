"""The LLMs of a router in plain values, for commands and pages."""

from typing import Any

from unirouter_torch.router.calibration import cost_of_prompts
from unirouter_torch.router.router import Router
from unirouter_torch.routing.cluster_error import overall_error

_PRICES = ("price_in", "price_out")
_LATENCY = ("seconds", "seconds_per_token")


def describe_pool(router: Router) -> dict[str, Any]:
    """The LLMs of a router as JSON values, in the order of the pool; costs are means over the calibration prompts."""
    pool = router.pool
    errors, counts = overall_error(pool.sums).tolist(), [round(count) for count in pool.sums.weight.sum(-1).tolist()]
    costs, calls = cost_of_prompts(router.head, router.calibration, pool).typical.tolist(), pool.cost.tolist()
    prices = [llm.token_cost for llm in pool.llms]
    price_in, price_out = ([None if one is None else getattr(one, name) for one in prices] for name in _PRICES)
    known = [llm.latency for llm in pool.llms]
    seconds, of_token = ([None if one is None else getattr(one, name) for one in known] for name in _LATENCY)
    context = [llm.context_tokens for llm in pool.llms]
    columns = (counts, errors, costs, calls, price_in, price_out, seconds, of_token, context, pool.available.tolist())
    facts = zip(pool.names, *columns, strict=True)
    keys = (
        "llm",
        "outcomes",
        "error",
        "cost",
        "cost_of_call",
        *_PRICES,
        "latency",
        "latency_per_token",
        "context_tokens",
        "is_available",
    )
    return {
        "cost_unit": pool.cost_unit,
        "cost_is_estimate": pool.cost_is_estimate,
        "reference_cost": pool.reference_cost,
        "llms": [dict(zip(keys, row, strict=True)) for row in facts],
    }
