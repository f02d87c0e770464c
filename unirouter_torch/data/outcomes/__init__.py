"""Outcomes of one LLM from where people have them; each file in ``readers`` reads one form into the same rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from unirouter_torch.messages import LAST_USER

Grader: TypeAlias = Callable[[str, str], float | None]
"""From an answer and the reference for its prompt to the quality of the answer, in [0, 1]; None if it cannot tell."""


@dataclass(frozen=True, kw_only=True)
class OutcomeRow:
    """One answer of an LLM, as a file tells of it.

    Attributes:
        place: Where it is, for messages.
        llm: Name of the LLM in the file, None where it says none.
        prompt_ids: What may be the identifier of its prompt.
        texts: What may be the text of its prompt, such as the question alone, and the question in a template.
        score: Quality of the answer in [0, 1]; None where it was not graded.
        answer: What the LLM said, for answers without a score; None where there is no answer.
        is_cut_off: Whether the LLM had not finished reasoning, so that it said nothing.
        input_tokens: Length of the prompt [tokens], None where not counted.
        output_tokens: Length of the answer [tokens], None where not counted.
        cost: What the answer was billed [US dollars], None where not given.
    """

    place: str
    llm: str | None = None
    prompt_ids: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    score: float | None = None
    answer: str | None = None
    is_cut_off: bool = False
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
    """What to take from files that hold more than one thing.

    Attributes:
        metrics: Names of the metrics that are the score, each alone or as ``task=metric``; needed where a task has
            several.
        conversation: The rule by which a conversation becomes its prompt: that of the router.
    """

    metrics: tuple[str, ...] = ()
    conversation: str = LAST_USER
