"""The families of simulated prompts, and how prompts are drawn from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from unirouter_torch.data.simulate import coding, knowledge, language, mathematics
from unirouter_torch.data.simulate.pen import Pen
from unirouter_torch.errors import DataError

ATTEMPTS = 50
"""How often a prompt is written anew before its family counts as exhausted."""


@dataclass(frozen=True, kw_only=True)
class PromptFamily:
    """Prompts of one kind: who writes them, and what an answer takes."""

    name: str
    """What ``source`` calls it."""
    write: Callable[[Pen], str]
    """Writes one prompt as hard as the pen says."""
    skills: Mapping[str, float]
    """Shares of the skills that an answer takes; they sum to one."""
    difficulty: float
    """Ability [logits] that answers a prompt of middle hardness half of the time, guesses aside."""
    spread: float
    """Difficulty [logits] of the hardest prompts above that of the middle ones, and of these above the easiest."""
    answer_tokens: int
    """Typical length of an answer [tokens]."""
    guess: float = 0.0
    """Probability in [0, 1) that an LLM without any ability is right."""
    is_graded: bool = False
    """Whether answers get marks in tenths instead of right or wrong."""


FAMILIES = (
    PromptFamily(
        name="arithmetic", write=mathematics.write_arithmetic, skills={"math": 0.8, "logic": 0.2},
        difficulty=0.1, spread=2.2, answer_tokens=140,
    ),
    PromptFamily(
        name="unit-conversion", write=mathematics.write_unit_conversion, skills={"math": 0.6, "knowledge": 0.4},
        difficulty=0.1, spread=1.8, answer_tokens=90,
    ),
    PromptFamily(
        name="date-reasoning", write=mathematics.write_date_reasoning, skills={"math": 0.4, "logic": 0.6},
        difficulty=0.5, spread=1.9, answer_tokens=110,
    ),
    PromptFamily(
        name="logic-puzzle", write=mathematics.write_logic_puzzle, skills={"logic": 1.0},
        difficulty=0.6, spread=1.9, answer_tokens=160, guess=0.2,
    ),
    PromptFamily(
        name="code-reading", write=coding.write_code_reading, skills={"code": 0.6, "logic": 0.4},
        difficulty=0.2, spread=2.0, answer_tokens=120,
    ),
    PromptFamily(
        name="code-writing", write=coding.write_code_writing, skills={"code": 0.85, "instruction": 0.15},
        difficulty=0.3, spread=2.1, answer_tokens=320,
    ),
    PromptFamily(
        name="sql", write=coding.write_sql, skills={"code": 0.8, "logic": 0.2},
        difficulty=0.1, spread=1.7, answer_tokens=130,
    ),
    PromptFamily(
        name="string-manipulation", write=coding.write_string_manipulation, skills={"instruction": 0.6, "code": 0.4},
        difficulty=0.6, spread=2.2, answer_tokens=40,
    ),
    PromptFamily(
        name="translation", write=language.write_translation, skills={"language": 0.9, "knowledge": 0.1},
        difficulty=-0.4, spread=1.6, answer_tokens=45, is_graded=True,
    ),
    PromptFamily(
        name="summary", write=language.write_summary, skills={"language": 0.5, "instruction": 0.5},
        difficulty=-0.9, spread=1.2, answer_tokens=35, is_graded=True,
    ),
    PromptFamily(
        name="poetry", write=language.write_poetry, skills={"language": 0.5, "instruction": 0.5},
        difficulty=0.1, spread=1.6, answer_tokens=120, is_graded=True,
    ),
    PromptFamily(
        name="fact-recall", write=knowledge.write_fact_recall, skills={"knowledge": 1.0},
        difficulty=-0.2, spread=2.2, answer_tokens=50,
    ),
    PromptFamily(
        name="legal", write=knowledge.write_legal, skills={"knowledge": 0.6, "language": 0.2, "logic": 0.2},
        difficulty=0.0, spread=1.6, answer_tokens=230, guess=0.1,
    ),
    PromptFamily(
        name="medical", write=knowledge.write_medical, skills={"knowledge": 0.75, "logic": 0.25},
        difficulty=0.0, spread=1.7, answer_tokens=210, guess=0.1,
    ),
)  # fmt: skip


class SimulatedPrompts(NamedTuple):
    """Distinct prompts of all families, in random order."""

    text: list[str]
    """What is asked."""
    family: Int[np.ndarray, " prompt"]
    """Position in :data:`FAMILIES`."""
    hardness: Float[np.ndarray, " prompt"]
    """How hard the text reads, from 0 (easiest) to 1 (hardest)."""


def draw_prompts(num_prompts: int, rng: np.random.Generator) -> SimulatedPrompts:
    """Distinct prompts, as many of each family, or one fewer, with evenly distributed hardness.

    Raises:
        DataError: A family has not enough different texts.
    """
    family = rng.permutation(np.arange(num_prompts) % len(FAMILIES))
    hardness = rng.random(num_prompts)
    texts: dict[str, None] = {}
    for i in range(num_prompts):
        texts[_write_new(FAMILIES[family[i]], Pen(rng, hardness[i]), texts)] = None
    return SimulatedPrompts(list(texts), family, hardness)


def _write_new(family: PromptFamily, pen: Pen, known: Mapping[str, None]) -> str:
    for _ in range(ATTEMPTS):
        text = family.write(pen)
        if text not in known:
            return text
    raise DataError(
        f"simulated data: no new text in the family {family.name!r}. Ask for fewer than {len(known)} prompts."
    )
