"""Another cost, latency or context for an LLM of a pool; what is not given stays."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.pooled_llm import PooledLLM, no_lengths

TOKENS_OF_A_PRICE = 1e6
"""Prices by the token are given for so many tokens, as price lists do."""


def reprice(
    llm: PooledLLM,
    *,
    cost: float | None = None,
    price_in: float | None = None,
    price_out: float | None = None,
    latency: float | None = None,
    latency_per_token: float | None = None,
    context_tokens: int | None = None,
) -> PooledLLM:
    """An LLM with what is given of its costs, latency and context.

    Args:
        llm: The LLM as it was.
        cost: Cost of one call, in the pool's unit.
        price_in: Cost of a million tokens of prompts, in that unit.
        price_out: Cost of a million tokens of answers, in that unit.
        latency: Seconds that a call takes.
        latency_per_token: Seconds that each token of the answer adds.
        context_tokens: Longest prompt that it takes [tokens].

    Raises:
        PoolError: A number is out of range, or a price by the token was given and the length of its answers is
            unknown.
    """
    seconds = _given(seconds=latency, seconds_per_token=latency_per_token)
    prices = _given(price_in=price_of_token(price_in), price_out=price_of_token(price_out))
    if prices and llm.token_cost is None:
        raise no_lengths(llm.name, "price by the token. Give one cost")
    return replace(
        llm,
        cost=llm.cost if cost is None else cost,
        latency=replace(llm.latency or Latency(), **seconds) if seconds else llm.latency,
        token_cost=llm.token_cost and replace(llm.token_cost, **prices),
        context_tokens=llm.context_tokens if context_tokens is None else context_tokens,
    )


def costs_in_words(given: Mapping[str, float | int | None]) -> str:
    """What was given of the arguments of :func:`reprice`, for the history; empty where nothing was."""
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in _given(**given).items())


def price_of_token(price: float | None) -> float | None:
    """The price of one token from that of a million; none where none was given."""
    return None if price is None else price / TOKENS_OF_A_PRICE


def _given(**values: float | int | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
