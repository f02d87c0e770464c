"""List prices and context windows of LLMs, from the table that LiteLLM brings; LiteLLM itself is not imported."""

import difflib
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from unirouter_torch.errors import ConfigError, PoolError
from unirouter_torch.storage import read_json

_TABLE = "model_prices_and_context_window_backup.json"
_MILLION = 1_000_000


class ListPrice(NamedTuple):
    """What a provider asks for an LLM by its price list.

    Attributes:
        price_in: Of a million tokens of prompts [US dollars].
        price_out: Of a million tokens of answers [US dollars].
        context_tokens: Longest prompt [tokens]; None where the table does not say.
    """

    price_in: float
    price_out: float
    context_tokens: int | None


def list_price(llm: str) -> ListPrice:
    """The list price of an LLM by its name in LiteLLM's table.

    Raises:
        ConfigError: LiteLLM is not installed.
        PoolError: The table has no price for that name.
    """
    table = _table()
    row = table.get(llm)
    price_in, price_out = (row.get(f"{kind}_cost_per_token") if row else None for kind in ("input", "output"))
    if not isinstance(price_in, int | float) or not isinstance(price_out, int | float):
        near = difflib.get_close_matches(llm, table, n=3)
        hint = f"; near are {', '.join(near)}" if near else ""
        raise PoolError(
            f"prices: LiteLLM's table has no price by the token of {llm!r}{hint}. Give the prices yourself."
        )
    context = row.get("max_input_tokens") if row else None
    return ListPrice(
        # rounded, as a price of 1.5e-07 times a million is 0.15 but for rounding
        price_in=round(price_in * _MILLION, 9),
        price_out=round(price_out * _MILLION, 9),
        context_tokens=context if isinstance(context, int) and context > 0 else None,
    )


@cache
def _table() -> dict[str, dict[str, Any]]:
    package = find_spec("litellm")
    if package is None or package.origin is None:
        raise ConfigError("prices: LiteLLM is not installed. Run `pip install 'unirouter_torch[litellm]'`.")
    table: dict[str, dict[str, Any]] = read_json(Path(package.origin).parent / _TABLE)
    return table
