"""What an LLM costs, as commands are told it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from unirouter_torch.cli.options import Shown
from unirouter_torch.errors import PoolError

if TYPE_CHECKING:
    from unirouter_torch.router.calibration import TokenPrices
    from unirouter_torch.routing.pooled_llm import PooledLLM

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
    prices: Annotated[Literal["litellm"] | None, Shown(metavar="SOURCE")] = None
    """Take prices and context that are not given from a price list by the LLM's name: ``litellm``, the table that
    LiteLLM brings (extra ``litellm``)."""

    def listed(self, llm: str, cost_unit: str) -> "LLMCosts":
        """The same with what the price list says of an LLM; what was given counts first.

        Args:
            llm: Its name.
            cost_unit: That of the pool; the list is in US dollars.

        Raises:
            ConfigError: LiteLLM is not installed.
            PoolError: The list has no price of that name, or the pool counts in another unit.
        """
        if self.prices is None:
            return self
        if not cost_unit.startswith("US dollars"):
            raise PoolError(f"prices: list prices are in US dollars, but this pool counts in {cost_unit}. Give --cost.")
        from unirouter_torch.integrations.litellm_prices import list_price

        found = {name: value for name, value in list_price(llm)._asdict().items() if getattr(self, name) is None}
        return replace(self, **found)

    @property
    def _numbers(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "prices"}

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
        from unirouter_torch.routing.repricing import costs_in_words

        told = costs_in_words(self._numbers)
        if not told:
            options = "--cost, --price-in, --price-out, --latency or --context-tokens"
            raise PoolError(f"cost of {llm!r}: got none. Give {options}.")
        return told if self.prices is None else f"{told}, list prices of LiteLLM"

    def changed(self, llm: "PooledLLM") -> "PooledLLM":
        """An LLM with what was given of its costs, latency and context; what was not given stays.

        Raises:
            PoolError: A number is out of range, or a price by the token was given and the length of its answers is
                unknown.
        """
        from unirouter_torch.routing.repricing import reprice

        return reprice(llm, **self._numbers)


def token_prices(price_in: float | None, price_out: float | None, output_tokens: Mapping[str, float]) -> "TokenPrices":
    """Prices of a million tokens as those of one, 0 where none was given, with the lengths of answers."""
    from unirouter_torch.router.calibration import TokenPrices
    from unirouter_torch.routing.repricing import price_of_token

    price_in, price_out = price_of_token(price_in), price_of_token(price_out)
    return TokenPrices(price_in=price_in or 0.0, price_out=price_out or 0.0, output_tokens=output_tokens)
