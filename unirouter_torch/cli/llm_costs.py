"""What an LLM costs, as commands are told it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from unirouter_torch.cli.options import Shown
from unirouter_torch.errors import PoolError

if TYPE_CHECKING:
    from unirouter_torch.router.calibration import TokenPrices
    from unirouter_torch.routing.pooled_llm import PooledLLM

TOKENS_OF_A_PRICE = 1e6
"""Prices by the token are given for so many tokens, as price lists do."""

Price = Annotated[float | None, Shown(metavar="P")]
Seconds = Annotated[float | None, Shown(metavar="SECONDS")]


@dataclass(frozen=True, kw_only=True)
class LLMCosts:
    """What a call of the LLM takes."""

    cost: Price = None
    """Cost of one call, in the unit of the pool."""
    price_in: Price = None
    """Cost of a million tokens of prompts, in that unit."""
    price_out: Price = None
    """Cost of a million tokens of answers, in that unit."""
    latency: Seconds = None
    """Seconds that a call takes."""
    latency_per_token: Seconds = None
    """Seconds that each token of the answer adds."""
    context_tokens: Annotated[int | None, Shown(metavar="N")] = None
    """Longest prompt that it takes, in tokens; longer ones go to other LLMs. Any when not given."""

    @property
    def goes_by_token(self) -> bool:
        """Whether what an LLM takes depends on the length of its answers."""
        return not (self.price_in is None and self.price_out is None and not self.latency_per_token)

    def require_cost(self, llm: str) -> None:
        """Refuse an LLM without a cost, which would be taken for one that costs nothing.

        Raises:
            PoolError: None was given.
        """
        if self.cost is None and self.price_in is None and self.price_out is None:
            raise PoolError(f"cost of {llm!r}: got none. Give --cost, or --price-in and --price-out.")

    def told(self, llm: str) -> str:
        """What was given of costs, latency and context, for the history.

        Raises:
            PoolError: None was.
        """
        told = [f"{name.replace('_', ' ')} {value:g}" for name, value in asdict(self).items() if value is not None]
        if not told:
            options = "--cost, --price-in, --price-out, --latency or --context-tokens"
            raise PoolError(f"cost of {llm!r}: got none. Give {options}.")
        return ", ".join(told)

    def changed(self, llm: "PooledLLM") -> "PooledLLM":
        """An LLM with what was given of its costs, latency and context; what was not given stays.

        Raises:
            PoolError: A number is out of range, or a price by the token was given and the length of its answers is
                unknown.
        """
        from unirouter_torch.routing.latency import Latency
        from unirouter_torch.routing.pooled_llm import no_lengths

        latency, tokens = llm.latency or Latency(), llm.token_cost
        seconds = _given(seconds=self.latency, seconds_per_token=self.latency_per_token)
        prices = _given(price_in=_by_token(self.price_in), price_out=_by_token(self.price_out))
        if prices and tokens is None:
            raise no_lengths(llm.name, "price by the token. Give one cost")
        return replace(
            llm,
            cost=llm.cost if self.cost is None else self.cost,
            latency=replace(latency, **seconds) if seconds else llm.latency,
            token_cost=tokens and replace(tokens, **prices),
            context_tokens=llm.context_tokens if self.context_tokens is None else self.context_tokens,
        )


def token_prices(price_in: float | None, price_out: float | None, output_tokens: Mapping[str, float]) -> "TokenPrices":
    """Prices of a million tokens as those of one, 0 where none was given, with the lengths of answers."""
    from unirouter_torch.router.calibration import TokenPrices

    price_in, price_out = _by_token(price_in), _by_token(price_out)
    return TokenPrices(price_in=price_in or 0.0, price_out=price_out or 0.0, output_tokens=output_tokens)


def _by_token(price: float | None) -> float | None:
    """The price of one token; none where none was given."""
    return None if price is None else price / TOKENS_OF_A_PRICE


def _given(**values: float | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
