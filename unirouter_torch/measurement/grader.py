"""What a grader is: from an answer and its reference to a score in [0, 1]."""

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, TypeAlias

from unirouter_torch.errors import ConfigError
from unirouter_torch.plugins import built_in_classes, load_plugin

PythonGrader: TypeAlias = Callable[[str, str, str], Any]
"""A function of a user, from prompt, answer and reference to a score."""

GROUP = "unirouter_torch.graders"
"""Group of the entry points by which other packages bring graders."""

_QUOTES = str.maketrans(dict.fromkeys("‘’‚‛′`´‹›", "'") | dict.fromkeys("“”„‟″«»", '"') | dict.fromkeys("‐‑‒–—−", "-"))
_AROUND = " .,;:!?\"'*_()[]{}。、・·¿¡…「」『』《》〈〉【】〔〕〖〗"


class UngradedError(Exception):
    """An answer that cannot be graded, with the reason; its prompt is left out."""


class Grader(ABC):
    """Grades one answer. What it is given is the answer alone: reasoning has been taken off."""

    name: ClassVar[str]
    """What ``grader`` calls it."""
    needs_reference: ClassVar[bool] = True
    """Whether an answer cannot be graded without a reference."""

    @abstractmethod
    def grade(self, prompt: str, answer: str, reference: str) -> float:
        """The score of an answer, in [0, 1].

        Args:
            prompt: What the LLM was asked; empty where nothing says it.
            answer: What it answered; empty where it said nothing.
            reference: What the answer is graded by; empty where there is none.

        Raises:
            UngradedError: The grader cannot tell.
        """


class FunctionGrader(Grader):
    """A function of a user as a grader.

    Args:
        function: From prompt, answer and reference to a score.
    """

    name = "function"
    needs_reference = False

    def __init__(self, function: PythonGrader) -> None:
        self._function = function

    def grade(self, prompt: str, answer: str, reference: str) -> float:
        """What the function returns."""
        return checked_score(self._function(prompt, answer, reference))


@cache
def built_in_graders() -> dict[str, type[Grader]]:
    """The graders of this package, by name."""
    found = built_in_classes("unirouter_torch.measurement.graders", Grader)  # type: ignore[type-abstract]
    return {name: found[name] for name in sorted(found)}


def find_grader(name: str, **options: float) -> Grader:
    """The grader of a name: one of this package, an entry point, or ``package.module:Name`` of a class or a function.

    Args:
        name: The name.
        options: Settings of the grader, such as ``tolerance`` of ``number``.

    Raises:
        ConfigError: There is none of that name, or what it names is no grader.
    """
    if name in built_in_graders():
        return built_in_graders()[name](**options)
    found = load_plugin(name, group=GROUP, setting="grader", built_in=[*built_in_graders(), "judge"])
    if isinstance(found, type) and issubclass(found, Grader):
        return found(**options)
    if isinstance(found, type) or not callable(found):
        raise ConfigError(
            f"grader: {name!r} is no grader. Name a class that derives from Grader, or a function that takes prompt, "
            "answer and reference."
        )
    return FunctionGrader(found)


def checked_score(score: object) -> float:
    """A score as a number in [0, 1].

    Raises:
        UngradedError: It is none.
    """
    if isinstance(score, bool | int | float) and 0 <= score <= 1:
        return float(score)
    raise UngradedError(f"the grader gave {score!r:.40}, expected a number in [0, 1]")


def plain_text(text: str) -> str:
    """A text without what equal answers differ in.

    That is Unicode form (NFKC, with full-width letters and signs), case, white space, the shape of quotes and dashes,
    invisible characters, and quotes, brackets, emphasis and punctuation around the whole, of Chinese and Japanese, too.
    """
    visible = "".join(letter for letter in text.translate(_QUOTES) if unicodedata.category(letter) != "Cf")
    words = " ".join(unicodedata.normalize("NFKC", visible).translate(_QUOTES).casefold().split())
    return words.strip(_AROUND) or words
