"""One LLM of a pool: all that is known of it."""

from dataclasses import dataclass

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.token_cost import TokenCost


@dataclass(frozen=True, kw_only=True, eq=False)
class PooledLLM:
    """A row of the pool. What an LLM has beside these is one more field here, with its check below.

    Attributes:
        name: Its name, not empty.
        cost: Cost of one call, in the pool's unit; finite and at least 0. All that it costs, but for token prices.
        sums: Sums over calibration prompts that give its cluster errors, one row.
        is_available: Whether it may be chosen; if not, it keeps its place and its sums.
        drift: Test for drift, where outcomes came in use.
        token_cost: What comes to the cost where it is paid by the token as well.
        latency: How long a call takes, where that is known.
        context_tokens: Longest prompt that it takes [tokens], at least 1; longer ones go elsewhere. None: any fits.

    Raises:
        PoolError: The name is empty, the cost is negative or not finite, the context has no token, or tokens add to the
            latency of an LLM whose answers are of unknown length.
    """

    name: str
    cost: float
    sums: ClusterSums
    is_available: bool = True
    drift: DriftTest | None = None
    token_cost: TokenCost | None = None
    latency: Latency | None = None
    context_tokens: int | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise PoolError("pool: an LLM has an empty name. Give it one.")
        check_cost(self.name, self.cost)
        if self.latency is not None and self.latency.seconds_per_token and self.token_cost is None:
            raise no_lengths(self.name, "latency by the token. Give the latency of a call")
        if self.context_tokens is not None and self.context_tokens < 1:
            raise PoolError(f"context_tokens of {self.name!r}: got {self.context_tokens}, expected at least 1 token.")


def no_lengths(name: str, what: str) -> PoolError:
    """What to say of an LLM whose answers are of unknown length.

    Args:
        name: Its name.
        what: What it cannot have, and what to do instead.
    """
    return PoolError(
        f"pool: the length of the answers of {name!r} is not known, so it has no {what}, or remove it and add it by "
        "outcomes with output_tokens."
    )


def check_cost(name: str, cost: float) -> None:
    """Check the cost of an LLM.

    Raises:
        PoolError: It is negative, infinite or NaN.
    """
    if not 0 <= cost < float("inf"):
        raise PoolError(f"cost of {name!r}: got {cost}, expected a finite number of at least 0.")
