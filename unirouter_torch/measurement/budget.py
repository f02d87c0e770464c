"""Dollars: what a call costs, what it can cost at most, and a budget that is never exceeded."""

import asyncio
from dataclasses import dataclass

from unirouter_torch.config.checks import at_least

MESSAGE_OVERHEAD_TOKENS = 64
"""Most tokens that an endpoint is taken to put around one message."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What an endpoint asks for [US dollars per million tokens], at least 0."""

    price_in: float
    """For what is sent."""
    price_out: float
    """For what is answered, hidden reasoning included."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least("price_in", self.price_in, 0)
        at_least("price_out", self.price_out, 0)

    def dollars(self, prompt_tokens: int, answer_tokens: int) -> float:
        """``(prompt_tokens * price_in + answer_tokens * price_out) / 1e6`` [US dollars]."""
        return (prompt_tokens * self.price_in + answer_tokens * self.price_out) / 1e6


def prompt_token_bound(message: str) -> int:
    """Most tokens that a message can count: one for each byte of its UTF-8, as no tokenizer in use makes more."""
    return len(message.encode(errors="replace")) + MESSAGE_OVERHEAD_TOKENS


class BudgetSpentError(Exception):
    """What is left of the budget does not cover the worst case of the next call."""


class Budget:
    """Dollars that may be spent, reserved before a call is sent and settled when it has ended.

    At every moment ``spent + reserved <= limit``.

    Args:
        limit: Most that may be spent [US dollars], at least 0.
        spent: What was spent before [US dollars].
    """

    def __init__(self, limit: float, spent: float = 0.0) -> None:
        at_least("budget", limit, 0)
        self.limit = limit
        self.spent = spent
        self.reserved = 0.0
        self._is_spent = False
        self._settled = asyncio.Event()

    async def reserve(self, dollars: float) -> None:
        """Set the worst case of a call aside; waits for calls on their way while these may leave enough.

        Raises:
            BudgetSpentError: Even if they cost nothing, too little is left. From then on nothing is reserved, as calls
                that are cheap enough would be those of short prompts, and no fair sample.
        """
        while not self._is_spent and self.spent + self.reserved + dollars > self.limit:
            self._is_spent = self.spent + dollars > self.limit
            if not self._is_spent:
                await self._settled.wait()
        if self._is_spent:
            raise BudgetSpentError
        self.reserved += dollars

    def settle(self, reserved: float, paid: float) -> None:
        """A call has ended: what was reserved for it is free again, less what it cost."""
        self.reserved = max(0.0, self.reserved - reserved)
        self.spent += paid
        self._settled.set()
        self._settled = asyncio.Event()
