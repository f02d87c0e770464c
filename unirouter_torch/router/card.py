"""The card that is saved beside a router, generated from what it holds."""

from collections.abc import Mapping
from typing import Any

from unirouter_torch.routing.cluster_error import overall_error
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.shapes import CostVector

_HOW_TO_FILL_THE_POOL = """prompts = {"1": "What is 2 + 2?", "2": "Who wrote Faust?"}  # a hundred or more, by id
scores = {"small-llm": {"1": 1.0, "2": 0.0}, "large-llm": {"1": 1.0, "2": 1.0}}  # quality in [0, 1]
router.calibrate(prompts, scores, cost={"small-llm": 0.0001, "large-llm": 0.002})
"""


def router_card(pool: LLMPool, cost: CostVector, about: Mapping[str, Any]) -> str:
    """Markdown that says what the router is, what it was trained on, and how to use it.

    Args:
        pool: The LLMs of the router.
        cost: What a typical prompt costs with each.
        about: Facts, listed as they are; ``headline``, what the router saves, comes first.
    """
    rows = zip(pool.names, cost.tolist(), overall_error(pool.sums).tolist(), strict=True)
    llms = "\n".join(f"| {_cell(name)} | {cost:.6g} | {error:.3f} |" for name, cost, error in rows)
    estimated = " (estimated)" if pool.cost_is_estimate else ""
    facts = "\n".join(_facts({key: value for key, value in about.items() if key != "headline"}))
    headline = f"{about['headline']}\n\n" if about.get("headline") else ""
    title = f"A router over {len(pool.names)} LLMs" if pool.names else "A router that takes any pool of LLMs"
    return f"""---
library_name: unirouter_torch
tags: [llm-routing, uniroute]
---

# {title}

{headline}It estimates the error of each LLM on a prompt as the inner product of the prompt's cluster probabilities and
the LLM's cluster errors, and picks the smallest `estimated error + cost_weight * cost / reference cost`.

```python
from unirouter_torch import Router

router = Router.from_pretrained("path/to/this/folder")
{_HOW_TO_FILL_THE_POOL if not pool.names else ""}print(router.route(["What is 17 + 25?"], cost_weight=0.1)[0].llm)
```

A new LLM joins without training: grade its answers to prompts of `calibration_prompts.json` and call
`unirouter pool add`, or `router.add_llm(name, scores, cost)` and `router.save_pool(what)`.

## Facts

{facts}

## The pool

{_pool_section(pool, estimated, llms)}
"""


def _pool_section(pool: LLMPool, estimated: str, llms: str) -> str:
    if not pool.names:
        return "Empty: it is yours to fill."
    return f"""As it was when the router was saved; `unirouter pool list` shows it as it is now.

Reference cost: {pool.reference_cost:.6g} {pool.cost_unit}{estimated}.

| LLM | cost [{pool.cost_unit}]{estimated} | error on the calibration prompts |
|---|---:|---:|
{llms}"""


def _facts(about: Mapping[str, Any], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in about.items():
        if isinstance(value, Mapping):
            lines += _facts(value, f"{prefix}{key}.")
        else:
            lines.append(f"- {prefix}{key}: {value}")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
