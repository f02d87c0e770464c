"""What an LLM costs: one constant for each LLM, by the best rule that the data allow."""

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unirouter_torch.errors import DataError, first_few
from unirouter_torch.shapes import CostVector, LLMSubset

Rule = Literal["billed", "estimated", "list_price", "parameters", "equal"]
CostRule = Literal["auto", "billed", "estimated", "list_price", "parameters", "equal"]

LEAST_SHARE_OF_ANSWERS = 0.5
"""Share of an LLM's answers that a mean must rest on, of bills or of lengths, for ``auto`` to take it."""
_RULES: tuple[Rule, ...] = ("billed", "estimated", "list_price", "parameters", "equal")
_MEANS: dict[Rule, str] = {"billed": "bills", "estimated": "lengths"}
"""The rules that average over answers, and what they need of each."""
_UNIT: dict[Rule, str] = {
    "billed": "US dollars per prompt",
    "estimated": "US dollars per prompt",
    "list_price": "US dollars per million tokens (mean list price)",
    "parameters": "billion parameters",
    "equal": "requests",
}
_NEEDED: dict[Rule, str] = {
    "billed": "cost_usd of the outcomes (cost in a log)",
    "estimated": "price_in and price_out of the LLMs, and output_tokens or output_chars of the outcomes",
    "list_price": "price_in and price_out of the LLMs",
    "parameters": "params_b of the LLMs",
    "equal": "nothing",
}


@dataclass(frozen=True, kw_only=True)
class LLMCost:
    """What one prompt costs with each LLM."""

    value: CostVector
    """Cost of each LLM [unit], float64, at least 0 and somewhere positive."""
    unit: str
    """What ``value`` counts."""
    is_estimate: bool
    """Whether the costs are estimated from list prices and lengths."""
    rule: Rule
    """Where the costs come from."""


@dataclass(frozen=True, kw_only=True)
class CostFacts:
    """All that is known about costs; NaN where unknown."""

    observed: Bool[Tensor, "prompt llm"]
    """Whether the pair has an outcome."""
    pair_cost: Float[Tensor, "prompt llm"]
    """Billed cost of each pair [US dollars]."""
    output_tokens: Float[Tensor, "prompt llm"]
    """Length of each answer [tokens], counted or estimated from its characters."""
    prompt_tokens: Float[Tensor, " prompt"]
    """Length of each prompt [tokens], estimated from its characters."""
    price_in: CostVector
    """List price of prompts [US dollars per million tokens]."""
    price_out: CostVector
    """List price of answers [US dollars per million tokens]."""
    params_b: CostVector
    """Size of each LLM [billion parameters]."""


def choose_cost(rule: CostRule, facts: CostFacts, llm_names: list[str]) -> tuple[LLMCost, LLMSubset]:
    """Price the LLMs by one rule, and say which LLMs it knows.

    ``billed`` is the mean billed cost over an LLM's pairs; ``estimated`` is the mean over its pairs of
    ``(prompt_tokens * price_in + output_tokens * price_out) / 1e6``; ``list_price`` is the mean of the two prices;
    ``parameters`` is the size; ``equal`` is 1. ``auto`` takes the first of them, in this order, that is known for at
    least half of the LLMs; a mean of bills or of estimates counts there only where it rests on at least half of the
    LLM's answers. A warning says where ``auto`` passes over one for that, or where a rule that was asked for rests on
    so few; where ``auto`` ends at ``equal``; and which LLMs have no cost.

    Args:
        rule: The rule to use.
        facts: What is known.
        llm_names: Names of the LLMs, for messages.

    Returns:
        The costs of the LLMs that have one, and the rising column numbers of these LLMs.

    Raises:
        DataError: The rule knows no LLM's cost, or every cost is 0.
    """
    chosen = _first_known_for_half(facts) if rule == "auto" else rule
    value = _cost_by_rule(chosen, facts)
    _warn_of_few_answers(rule, chosen, facts)
    known = ~value.isnan()
    if rule == "auto" and chosen == "equal":
        message = "nothing distinguishes the LLMs by cost, each costs 1 request. Give prices or billed costs."
        warnings.warn(f"cost rule 'auto': {message}", UserWarning, stacklevel=2)
    if not known.any():
        raise DataError(
            f"cost rule {chosen!r}: known for no LLM, expected {_NEEDED[chosen]}. Choose another data.cost."
        )
    if not value[known].any():
        needed = f"Correct or leave out {_NEEDED[chosen]}, or set data.cost: equal."
        raise DataError(f"cost rule {chosen!r}: every LLM costs 0. {needed}")
    if not known.all():
        missing = [name for name, is_known in zip(llm_names, known.tolist(), strict=True) if not is_known]
        warnings.warn(_left_out_message(chosen, missing, len(llm_names)), UserWarning, stacklevel=2)
    cost = LLMCost(value=value[known], unit=_UNIT[chosen], is_estimate=chosen == "estimated", rule=chosen)
    return cost, known.nonzero().squeeze(1)


def _first_known_for_half(facts: CostFacts) -> Rule:
    half = len(facts.params_b) / 2

    def rests_on_enough(rule: Rule) -> Bool[Tensor, " llm"]:
        known = ~_cost_by_rule(rule, facts).isnan()
        return known & (_share_of_answers(rule, facts) >= LEAST_SHARE_OF_ANSWERS) if rule in _MEANS else known

    return next(rule for rule in _RULES if rests_on_enough(rule).sum().item() >= half)


def _share_of_answers(rule: Rule, facts: CostFacts) -> Float[Tensor, " llm"]:
    """Share of each LLM's answers that its mean bill or estimate rests on."""
    known = ~(facts.pair_cost if rule == "billed" else facts.output_tokens).isnan() & facts.observed
    return known.sum(dim=0) / facts.observed.sum(dim=0).clamp(min=1)


def _warn_of_few_answers(asked: CostRule, chosen: Rule, facts: CostFacts) -> None:
    """Say what a mean rests on, where that is little, or that it was passed over."""
    for rule, what in _MEANS.items():
        share = _share_of_answers(rule, facts)[~_cost_by_rule(rule, facts).isnan()]
        if not len(share) or share.mean() >= LEAST_SHARE_OF_ANSWERS:
            continue
        rests = f"{what} are known of {share.mean().item():.0%} of the answers"
        if chosen == rule:
            message = f"cost rule {rule!r}: {rests}; costs are means over these."
        elif asked == "auto" and _RULES.index(chosen) > _RULES.index(rule):
            message = f"cost rule 'auto': {rests}, too few for {rule!r}; {chosen!r} is taken. Set data.cost to choose."
        else:
            continue
        warnings.warn(message, UserWarning, stacklevel=3)


def _cost_by_rule(rule: Rule, facts: CostFacts) -> CostVector:
    match rule:
        case "billed":
            return facts.pair_cost.nanmean(dim=0)
        case "estimated":
            dollars = facts.prompt_tokens[:, None] * facts.price_in + facts.output_tokens * facts.price_out
            return dollars.nanmean(dim=0) / 1e6
        case "list_price":
            return (facts.price_in + facts.price_out) / 2
        case "parameters":
            return facts.params_b
        case "equal":
            return torch.ones_like(facts.params_b)


def _left_out_message(rule: Rule, missing: list[str], num_llms: int) -> str:
    return (
        f"cost rule {rule!r}: {len(missing)} of {num_llms} LLMs have no cost and are left out: {first_few(missing)}. "
        f"Give {_NEEDED[rule]}, or choose another data.cost."
    )
