"""What an LLM costs, as commands are told it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

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

        told = costs_in_words(asdict(self))
        if not told:
            options = "--cost, --price-in, --price-out, --latency or --context-tokens"
            raise PoolError(f"cost of {llm!r}: got none. Give {options}.")
        return told

    def changed(self, llm: "PooledLLM") -> "PooledLLM":
        """An LLM with what was given of its costs, latency and context; what was not given stays.

        Raises:
            PoolError: A number is out of range, or a price by the token was given and the length of its answers is
                unknown.
        """
        from unirouter_torch.routing.repricing import reprice

        return reprice(llm, **asdict(self))


def token_prices(price_in: float | None, price_out: float | None, output_tokens: Mapping[str, float]) -> "TokenPrices":
    """Prices of a million tokens as those of one, 0 where none was given, with the lengths of answers."""
    from unirouter_torch.router.calibration import TokenPrices
    from unirouter_torch.routing.repricing import price_of_token

    price_in, price_out = price_of_token(price_in), price_of_token(price_out)
    return TokenPrices(price_in=price_in or 0.0, price_out=price_out or 0.0, output_tokens=output_tokens)
