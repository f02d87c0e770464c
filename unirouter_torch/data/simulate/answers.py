"""How simulated LLMs answer simulated prompts: item response with a mixture of skills for each family of prompts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from unirouter_torch.config.router import CHARS_PER_TOKEN
from unirouter_torch.data.simulate.families import FAMILIES, SimulatedPrompts
from unirouter_torch.data.simulate.llms import CATALOGUE, SKILLS, SimulatedLLM

DISCRIMINATION = 1.7
"""How steeply the probability of a right answer rises with the ability [1 / logits]."""
LAPSE = 0.03
"""Probability in [0, 1) that an LLM of any ability fails."""
FAMILY_SPREAD = 0.3
"""Standard deviation of an LLM's ability in a family of prompts about what its skills say [logits]."""
UNREADABLE_SPREAD = 0.6
"""Standard deviation of a prompt's difficulty about what its text shows [logits]."""
LUCK_SPREAD = 0.5
"""Standard deviation of the luck of an LLM with a prompt, the same for all offers of the LLM [logits]."""
MARK_CONCENTRATION = 6.0
"""Sum of the two parameters of the Beta distribution of marks; the larger, the closer are marks to their mean."""
LENGTH_SPREAD = 0.3
"""Standard deviation of the logarithm of an answer's length."""

PairMatrix = Float[np.ndarray, "prompt llm"]
TokenCounts = Int[np.ndarray, "prompt llm"]
FamilyAbility = Float[np.ndarray, "llm family"]


class Answers(NamedTuple):
    """What came of asking each LLM each prompt."""

    score: PairMatrix
    """Quality, in [0, 1]: 0 or 1, or tenths in families with marks."""
    output_tokens: TokenCounts
    """Length of the answer, thoughts included, at least 1."""
    cost_usd: PairMatrix
    """Price of prompt and answer [US dollars], to nine decimals."""


def draw_ability(rng: np.random.Generator) -> FamilyAbility:
    """Ability of each LLM of the catalogue in each family of prompts [logits]; offers of one LLM share chance."""
    skills = np.array([[llm.skills[skill] for skill in SKILLS] for llm in CATALOGUE])
    shares = np.array([[family.skills.get(skill, 0.0) for skill in SKILLS] for family in FAMILIES])
    ability: FamilyAbility = skills @ shares.T + FAMILY_SPREAD * _draw_by_base_llm(CATALOGUE, len(FAMILIES), rng).T
    return ability


def draw_answers(
    prompts: SimulatedPrompts, llms: Sequence[SimulatedLLM], ability: FamilyAbility, rng: np.random.Generator
) -> Answers:
    """Answers of each LLM to each prompt, with their lengths and prices.

    Args:
        prompts: The prompts.
        llms: The LLMs.
        ability: Ability of these LLMs [logits].
        rng: Source of randomness.
    """
    score = _draw_scores(_probability(prompts, llms, ability, rng), prompts, rng)
    output_tokens = _draw_lengths(prompts, llms, rng)
    prompt_tokens = np.array([len(text) for text in prompts.text]) / CHARS_PER_TOKEN
    price_in, price_out = np.array([(llm.price_in, llm.price_out) for llm in llms]).T
    cost_usd = (np.outer(prompt_tokens, price_in) + output_tokens * price_out) / 1e6
    return Answers(score, output_tokens, cost_usd.round(9))


def _probability(
    prompts: SimulatedPrompts, llms: Sequence[SimulatedLLM], ability: FamilyAbility, rng: np.random.Generator
) -> PairMatrix:
    middle = np.array([family.difficulty for family in FAMILIES])[prompts.family]
    spread = np.array([family.spread for family in FAMILIES])[prompts.family]
    guess = np.array([family.guess for family in FAMILIES])[prompts.family, None]
    num_prompts = len(prompts.text)
    difficulty = middle + spread * (2 * prompts.hardness - 1) + UNREADABLE_SPREAD * rng.standard_normal(num_prompts)
    luck = LUCK_SPREAD * _draw_by_base_llm(llms, num_prompts, rng)
    logit = DISCRIMINATION * (ability[:, prompts.family].T - difficulty[:, None] + luck)
    probability: PairMatrix = guess + (1 - guess - LAPSE) / (1 + np.exp(-logit))
    return probability


def _draw_scores(probability: PairMatrix, prompts: SimulatedPrompts, rng: np.random.Generator) -> PairMatrix:
    score = (rng.random(probability.shape) < probability).astype(np.float64)
    is_graded = np.array([family.is_graded for family in FAMILIES])[prompts.family]
    mean = probability[is_graded]
    score[is_graded] = rng.beta(MARK_CONCENTRATION * mean, MARK_CONCENTRATION * (1 - mean)).round(1)
    return score


def _draw_lengths(prompts: SimulatedPrompts, llms: Sequence[SimulatedLLM], rng: np.random.Generator) -> TokenCounts:
    usual = np.array([family.answer_tokens for family in FAMILIES])[prompts.family] * np.exp(prompts.hardness - 0.5)
    answer = np.outer(usual, [llm.verbosity for llm in llms])
    thoughts = np.outer(0.3 + 1.4 * prompts.hardness, [llm.thought_tokens for llm in llms])
    factor = np.exp(LENGTH_SPREAD * rng.standard_normal(answer.shape))
    lengths: TokenCounts = np.maximum(1, ((answer + thoughts) * factor).round()).astype(np.int64)
    return lengths


def _draw_by_base_llm(llms: Sequence[SimulatedLLM], num_rows: int, rng: np.random.Generator) -> PairMatrix:
    # one standard normal number for each row and base LLM, repeated for all offers of the base LLM
    names, base = np.unique([llm.base_llm for llm in llms], return_inverse=True)
    return rng.standard_normal((num_rows, len(names)))[:, base]
