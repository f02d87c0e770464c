"""Random words and numbers that let a reader see how hard a simulated prompt is."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Option = TypeVar("Option")

JITTER = 0.12
"""Standard deviation of the hardness that one wording shows, about the hardness of the whole prompt."""


class Pen:
    """Draws the parts of one prompt: some whatever the hardness, some in step with it.

    Args:
        rng: Source of randomness.
        hardness: How hard the prompt should read, from 0 (easiest) to 1 (hardest).
    """

    def __init__(self, rng: np.random.Generator, hardness: float) -> None:
        self.rng = rng
        self.hardness = hardness

    def integer(self, low: int, high: int) -> int:
        """Integer from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def number(self, digits: int) -> int:
        """Integer above 1 of exactly so many digits."""
        return self.integer(max(2, 10 ** (digits - 1)), 10**digits - 1)

    def pick(self, options: Sequence[Option]) -> Option:
        """Any of the options."""
        return options[self.integer(0, len(options) - 1)]

    def some(self, options: Sequence[Option], count: int) -> list[Option]:
        """So many different options, in random order."""
        return [options[i] for i in self.rng.permutation(len(options))[:count]]

    def scaled(self, low: int, high: int) -> int:
        """Integer from ``low`` to ``high``, both included, that grows with the hardness."""
        shown = min(max(self.hardness + JITTER * self.rng.standard_normal(), 0.0), 0.999)
        return low + int(shown * (high - low + 1))

    def graded(self, options: Sequence[Option]) -> Option:
        """One of the options, which stand from the easiest to the hardest, in step with the hardness."""
        return options[self.scaled(0, len(options) - 1)]

    def graded_some(self, options: Sequence[Option], low: int, high: int) -> list[Option]:
        """``low`` to ``high`` different options, of those about as hard as the prompt; they stand from easy to hard."""
        distance = np.abs(np.linspace(0.0, 1.0, len(options)) - self.hardness)
        order = np.argsort(distance + 2 * JITTER * self.rng.random(len(options)))
        return [options[i] for i in order[: self.scaled(low, high)]]

    def rising(self, options: Sequence[Option], low: int, high: int) -> list[Option]:
        """``low`` to ``high`` different options; the harder the prompt, the more of them."""
        return self.some(options, self.scaled(low, high))


NAMES = (
    "Amara", "Bruno", "Chidi", "Dalia", "Emeka", "Farah", "Goran", "Hanne", "Ibrahim", "Jolanta", "Kwame", "Leila",
    "Mateus", "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Stellan", "Tomoko", "Ulla", "Viktor", "Wanda", "Yusuf",
)  # fmt: skip
"""First names for stories."""
