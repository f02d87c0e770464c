"""Outcomes of one LLM from where people have them; each file here reads one form into the same rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Grader: TypeAlias = Callable[[str, str], float | None]
"""From an answer and the reference for its prompt to the quality of the answer, in [0, 1]; None if it cannot tell."""


@dataclass(frozen=True, kw_only=True)
class OutcomeRow:
    """One answer of the LLM, as a file tells of it.

    Attributes:
        place: Where it stands, for messages.
        prompt_ids: What may be the identifier of its prompt.
        texts: What may be the text of its prompt, such as the question alone, and the question in a template.
        score: Quality of the answer in [0, 1]; None where it was not graded.
        input_tokens: Length of the prompt [tokens], None where not counted.
        output_tokens: Length of the answer [tokens], None where not counted.
        cost: What the answer was billed [US dollars], None where not given.
    """

    place: str
    prompt_ids: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    score: float | None
    input_tokens: float | None = None
    output_tokens: float | None = None
    cost: float | None = None


@dataclass(frozen=True, kw_only=True)
class Grading:
    """How answers without a score are graded.

    Attributes:
        grader: Grades one answer.
        references: The reference for each prompt, by prompt id.
    """

    grader: Grader
    references: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Pick:
    """What to take from a file that holds more than one thing.

    Attributes:
        llm: Name of the LLM in the file; needed where the file has several.
        metric: Name of the metric that is the score; needed where the file has several.
        grading: How to grade answers; needed where the file has answers without scores.
    """

    llm: str | None = None
    metric: str | None = None
    grading: Grading | None = None
