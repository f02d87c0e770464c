"""What an LLM costs, as commands are told it."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unirouter_torch.errors import PoolError

if TYPE_CHECKING:
    from unirouter_torch.router.calibration import TokenPrices
    from unirouter_torch.routing.pooled_llm import PooledLLM

TOKENS_OF_A_PRICE = 1e6
"""Prices by the token are given for so many tokens, as price lists do."""


def declare_costs(action: argparse.ArgumentParser) -> None:
    """Declare what an LLM may cost."""
    action.add_argument("--cost", type=float, metavar="C", help="cost of one call, in the unit of the pool")
    action.add_argument("--price-in", type=float, metavar="P", help="cost of a million tokens of prompts, in that unit")
    action.add_argument(
        "--price-out", type=float, metavar="P", help="cost of a million tokens of answers, in that unit"
    )
    action.add_argument("--latency", type=float, metavar="S", help="seconds that a call takes")
    action.add_argument(
        "--latency-per-token", type=float, metavar="S", help="seconds that each token of the answer adds"
    )


def declare_latency_weight(action: argparse.ArgumentParser) -> None:
    """Declare what a second costs."""
    weight = (
        "what a second costs, in the unit of the pool: the latency of an LLM then counts as a cost (default: that of "
        "the target that unirouter tune --save keeps, else 0)"
    )
    action.add_argument("--latency-weight", type=float, metavar="W", help=weight)


def by_token(price: float | None) -> float | None:
    """The price of one token; none where none was given."""
    return None if price is None else price / TOKENS_OF_A_PRICE


def token_prices(price_in: float | None, price_out: float | None, output_tokens: Mapping[str, float]) -> "TokenPrices":
    """Prices of a million tokens as those of one, 0 where none was given, with the lengths of answers."""
    from unirouter_torch.router.calibration import TokenPrices

    price_in, price_out = by_token(price_in), by_token(price_out)
    return TokenPrices(price_in=price_in or 0.0, price_out=price_out or 0.0, output_tokens=output_tokens)


def goes_by_token(options: argparse.Namespace) -> bool:
    """Whether what an LLM takes depends on the length of its answers."""
    return not (options.price_in is None and options.price_out is None and not options.latency_per_token)


def changed(llm: "PooledLLM", options: argparse.Namespace) -> "PooledLLM":
    """An LLM with what was given of its costs; what was not given stays.

    Raises:
        PoolError: A number is out of range, or a price by the token was given and the length of its answers is unknown.
    """
    from unirouter_torch.routing.latency import Latency
    from unirouter_torch.routing.pooled_llm import no_lengths

    latency, tokens = llm.latency or Latency(), llm.token_cost
    seconds = _given(seconds=options.latency, seconds_per_token=options.latency_per_token)
    prices = _given(price_in=by_token(options.price_in), price_out=by_token(options.price_out))
    if prices and tokens is None:
        raise no_lengths(llm.name, "price by the token. Give one cost")
    return replace(
        llm,
        cost=llm.cost if options.cost is None else options.cost,
        latency=replace(latency, **seconds) if seconds else llm.latency,
        token_cost=tokens and replace(tokens, **prices),
    )


def _given(**values: float | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def require_cost(options: argparse.Namespace) -> None:
    """Refuse an LLM without a cost, which would be taken for one that costs nothing.

    Raises:
        PoolError: None was given.
    """
    if options.cost is None and options.price_in is None and options.price_out is None:
        raise PoolError(f"cost of {options.llm!r}: got none. Give --cost, or --price-in and --price-out.")


def told_costs(options: argparse.Namespace) -> str:
    """The costs and latencies that were given, for the history.

    Raises:
        PoolError: None was.
    """
    names = ("cost", "price_in", "price_out", "latency", "latency_per_token")
    told = [f"{name.replace('_', ' ')} {value:g}" for name in names if (value := getattr(options, name)) is not None]
    if not told:
        raise PoolError(f"cost of {options.llm!r}: got none. Give --cost, --price-in, --price-out or --latency.")
    return ", ".join(told)
