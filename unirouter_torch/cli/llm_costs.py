"""What an LLM costs, as commands are told it."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from unirouter_torch.errors import PoolError

if TYPE_CHECKING:
    from unirouter_torch.modeling.calibration import TokenPrices

TOKENS_OF_A_PRICE = 1e6
"""Prices by the token are given for so many tokens, as price lists do."""


def declare_costs(action: argparse.ArgumentParser) -> None:
    """Declare what an LLM may cost."""
    action.add_argument("--cost", type=float, metavar="C", help="cost of one call, in the unit of the pool")
    action.add_argument("--price-in", type=float, metavar="P", help="cost of a million tokens of prompts, in that unit")
    action.add_argument(
        "--price-out", type=float, metavar="P", help="cost of a million tokens of answers, in that unit"
    )


def by_token(price: float | None) -> float | None:
    """The price of one token; none where none was given."""
    return None if price is None else price / TOKENS_OF_A_PRICE


def token_prices(options: argparse.Namespace, output_tokens: Mapping[str, float]) -> "TokenPrices | None":
    """The prices by the token that were given, with the lengths of answers; none where none was given."""
    from unirouter_torch.modeling.calibration import TokenPrices

    if options.price_in is None and options.price_out is None:
        return None
    price_in, price_out = by_token(options.price_in), by_token(options.price_out)
    return TokenPrices(price_in=price_in or 0.0, price_out=price_out or 0.0, output_tokens=output_tokens)


def told_costs(options: argparse.Namespace) -> str:
    """The costs that were given, for the history.

    Raises:
        PoolError: None was.
    """
    costs = {"cost": options.cost, "price in": options.price_in, "price out": options.price_out}
    told = [f"{name} {value:g}" for name, value in costs.items() if value is not None]
    if not told:
        raise PoolError(f"cost of {options.llm!r}: got none. Give --cost, or --price-in and --price-out.")
    return ", ".join(told)
