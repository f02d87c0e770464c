"""Calibration outcomes of which some are wrong: what they say once it is known how hard each prompt is."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.errors import PoolError
from unirouter_torch.shapes import ErrorMatrix, ObservedMatrix

FLIP_RATES = torch.linspace(0.0, 0.45, 46, dtype=torch.float64)
"""Flip rates that :func:`estimate_flip_rate` tries."""

_STEPS = 30
_VARIANCE_OF_DIFFICULTY = 9.0
_VARIANCE_OF_ABILITY = 4.0
_GRID = torch.linspace(-8.0, 8.0, 161, dtype=torch.float64)


class PromptDifficulty(NamedTuple):
    """How hard each calibration prompt is, from the outcomes of LLMs whose labels are trusted.

    An LLM of ability ``a`` fails on prompt ``j`` with probability ``sigmoid(difficulty_j - a)``.

    Attributes:
        difficulty: Of each prompt [log-odds], such that the mean ability of these LLMs is 0.
        ability_spread: Standard deviation of their abilities [log-odds], positive.
    """

    difficulty: Float[Tensor, " prompt"]
    ability_spread: Float[Tensor, ""]


def fit_difficulty(error: ErrorMatrix, observed: ObservedMatrix) -> PromptDifficulty:
    """Difficulty of prompts and spread of abilities that explain the outcomes best.

    The most probable values under normal priors of variance 9 (difficulties, around their mean) and 4 (abilities);
    these keep them finite where all LLMs agree.

    Args:
        error: Outcomes of the LLMs in [0, 1]; ignored where not observed.
        observed: Which pairs were observed.

    Source: the Rasch model of item response theory.
    """
    weight = observed.double()
    made = error.double() * weight
    difficulty, ability = weight.new_zeros(weight.shape[0]), weight.new_zeros(weight.shape[1])
    for _ in range(_STEPS):
        expected = torch.sigmoid(difficulty[:, None] - ability)
        slope = (weight * expected * (1 - expected)).sum(1) + 1 / _VARIANCE_OF_DIFFICULTY
        pull = (difficulty - difficulty.mean()) / _VARIANCE_OF_DIFFICULTY
        difficulty = difficulty + (((made - weight * expected).sum(1) - pull) / slope).clamp(-1.0, 1.0)
        expected = torch.sigmoid(difficulty[:, None] - ability)
        slope = (weight * expected * (1 - expected)).sum(0) + 1 / _VARIANCE_OF_ABILITY
        pull = ability / _VARIANCE_OF_ABILITY
        ability = ability + (((weight * expected - made).sum(0) - pull) / slope).clamp(-1.0, 1.0)
    spread = ability.std() if len(ability) > 1 else ability.new_tensor(_VARIANCE_OF_ABILITY).sqrt()
    return PromptDifficulty((difficulty - ability.mean()).float(), spread.clamp(min=0.1).float())


def correct_flips(
    error: ErrorMatrix, observed: ObservedMatrix, known: PromptDifficulty, flip_rate: float
) -> ErrorMatrix:
    """What each outcome most likely was before some of them were flipped: its expected error, in [0, 1].

    An outcome was flipped from ``e`` to ``1 - e`` with probability ``flip_rate``, whatever it was. How able the LLM is
    follows from all its outcomes; where a failure on an easy prompt or a success on a hard one contradicts that, it was
    probably flipped. Nothing changes at a flip rate of 0.

    Args:
        error: Outcomes in [0, 1]; meaningless where not observed.
        observed: Which pairs were observed.
        known: How hard these prompts are.
        flip_rate: Probability that an outcome is wrong, at least 0 and below 0.5.

    Raises:
        PoolError: ``flip_rate`` is out of range.

    Source: Bayes' rule with the Rasch model and its integral over abilities on a grid; its use here is this project's.
    """
    check_flip_rate(flip_rate)
    if flip_rate == 0:
        return error
    said = error.double()
    failure = _failure(known)
    says_failure = flip_rate + (1 - 2 * flip_rate) * failure
    ability = (_log_likelihood(said, observed, says_failure) + _log_prior(known)).softmax(0)
    after_failure = ability.T @ ((1 - flip_rate) * failure / says_failure)
    after_success = ability.T @ (flip_rate * failure / (1 - says_failure))
    return (said * after_failure.T + (1 - said) * after_success.T).to(error.dtype)


def estimate_flip_rate(error: ErrorMatrix, observed: ObservedMatrix, known: PromptDifficulty) -> Float[Tensor, " llm"]:
    """The most likely flip rate of each LLM's outcomes, from how often they contradict the difficulty of the prompts.

    It reads too high by what the model does not explain of true outcomes, so that it is an upper bound in practice.

    Args:
        error: Outcomes in [0, 1]; meaningless where not observed.
        observed: Which pairs were observed.
        known: How hard these prompts are.
    """
    said, failure, prior = error.double(), _failure(known), _log_prior(known)
    evidence = [
        (_log_likelihood(said, observed, rate + (1 - 2 * rate) * failure) + prior).logsumexp(0) for rate in FLIP_RATES
    ]
    return FLIP_RATES[torch.stack(evidence).argmax(0)].float()


def check_flip_rate(flip_rate: float) -> None:
    """Check a flip rate.

    Raises:
        PoolError: It is not in [0, 0.5).
    """
    if not 0 <= flip_rate < 0.5:
        raise PoolError(f"flip_rate: got {flip_rate}, expected at least 0 and less than 0.5.")


def _failure(known: PromptDifficulty) -> Float[Tensor, "ability prompt"]:
    return torch.sigmoid(known.difficulty.double() - _GRID[:, None]).clamp(1e-9, 1 - 1e-9)


def _log_prior(known: PromptDifficulty) -> Float[Tensor, "ability 1"]:
    return -((_GRID[:, None] / known.ability_spread.double()) ** 2) / 2


def _log_likelihood(
    said: Float[Tensor, "prompt llm"], observed: ObservedMatrix, says_failure: Float[Tensor, "ability prompt"]
) -> Float[Tensor, "ability llm"]:
    weight = observed.double()
    return says_failure.log() @ (said * weight) + (1 - says_failure).log() @ ((1 - said) * weight)
