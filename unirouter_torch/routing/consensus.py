"""Answers without labels: whom of the pool they agree with, and how able those are."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unirouter_torch.errors import PoolError
from unirouter_torch.shapes import ErrorMatrix


def consensus_error(
    answer: Int[Tensor, " prompt"],
    pool_answer: Int[Tensor, "prompt llm"],
    estimated_error: ErrorMatrix,
    num_wrong_answers: int,
) -> Float[Tensor, " prompt"]:
    """Expected error of answers to prompts without labels, from whether LLMs of known ability answer the same.

    LLM ``h`` is wrong with its estimated error ``g``, and then gives any wrong answer equally likely, so a vote for an
    answer adds ``log((1 - g) * num_wrong_answers / g)`` to its log-odds. An answer is right or wrong as a whole.

    Args:
        answer: The answer to be judged, as a number at least 0: equal numbers are equal answers.
        pool_answer: Answers of the LLMs of the pool in the same numbers; negative where there is none.
        estimated_error: Estimated error of these LLMs on these prompts, in [0, 1].
        num_wrong_answers: How many wrong answers to a prompt are plausible, at least 1.

    Returns:
        Probability that the answer is wrong, in [0, 1]. Without any vote it is that of a guess.

    Raises:
        PoolError: ``num_wrong_answers`` is less than 1.

    Source: naive Bayes over votes (weighted majority); its use for calibration is this project's. Votes of LLMs that
    err together count as if they were independent, so that the probabilities are too sure.
    """
    if num_wrong_answers < 1:
        raise PoolError(f"num_wrong_answers: got {num_wrong_answers}, expected at least 1.")
    failure = estimated_error.double().clamp(1e-6, 1 - 1e-6)
    has_vote = pool_answer >= 0
    weight = torch.where(has_vote, (1 - failure).log() - failure.log() + math.log(num_wrong_answers), 0.0)
    same = (pool_answer[:, :, None] == pool_answer[:, None, :]) & has_vote[:, None, :]
    support = (same * weight[:, None, :]).sum(-1)
    is_first = has_vote & ~torch.tril(same, -1).any(-1)
    is_mine = pool_answer == answer[:, None]
    mine = (is_mine * weight).sum(-1)
    others = support.masked_fill(~is_first | is_mine, -math.inf)
    num_given = is_first.sum(-1) + ~is_mine.any(-1)
    unseen = (num_wrong_answers + 1 - num_given).clamp(min=0).double().log()
    total = torch.cat([mine[:, None], others, unseen[:, None]], dim=1).logsumexp(1)
    return (1 - (mine - total).exp()).clamp(0.0, 1.0).to(estimated_error.dtype)
