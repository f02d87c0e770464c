"""The prompts that represent an LLM, and from its outcomes on them to its sums."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.errors import PoolError
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.label_noise import PromptDifficulty, correct_flips, estimate_flip_rate, fit_difficulty
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.pooled_llm import PooledLLM
from unirouter_torch.routing.prompt_selection import OutcomeAdjustment, sum_adjusted
from unirouter_torch.routing.token_cost import PromptCost, TokenCost, sum_tokens
from unirouter_torch.shapes import ClusterProbability, ErrorMatrix, ObservedMatrix, PromptSubset


@dataclass(frozen=True, kw_only=True)
class CalibrationPrompts:
    """The prompts that represent an LLM: one that answers them, with grades, can join the pool.

    Attributes:
        prompt_ids: One distinct identifier for each prompt.
        texts: The prompts.
        cluster_probability: Their cluster probabilities.
        adjustment: What an error on each of them counts, where they were chosen and not drawn.
        difficulty: How hard they are, by which wrong labels of a new LLM are told; None where that is not known.
    """

    prompt_ids: tuple[str, ...]
    texts: tuple[str, ...]
    cluster_probability: ClusterProbability
    adjustment: OutcomeAdjustment | None = None
    difficulty: PromptDifficulty | None = None

    def of_rows(self, rows: PromptSubset) -> "CalibrationPrompts":
        """Some of the prompts.

        Args:
            rows: Their positions.
        """
        adjustment, difficulty = self.adjustment, self.difficulty
        return CalibrationPrompts(
            prompt_ids=tuple(self.prompt_ids[row] for row in rows.tolist()),
            texts=tuple(self.texts[row] for row in rows.tolist()),
            cluster_probability=self.cluster_probability[rows],
            adjustment=None if adjustment is None else OutcomeAdjustment(*(part[rows] for part in adjustment)),
            difficulty=None if difficulty is None else difficulty._replace(difficulty=difficulty.difficulty[rows]),
        )

    def typical_error(self, prompt_ids: Sequence[str], error: float) -> float:
        """What a mean error on some of these prompts says of prompts in general: the same where they were drawn."""
        if self.adjustment is None:
            return error
        rows = [self.prompt_ids.index(prompt_id) for prompt_id in prompt_ids]
        return float(self.adjustment.offset[rows].mean() + self.adjustment.slope[rows].mean() * error)


@dataclass(frozen=True, kw_only=True)
class TokenPrices:
    """What an LLM costs that is paid by the token, and how long its answers were.

    Attributes:
        price_in: Cost of one token of a prompt, in the pool's unit.
        price_out: Cost of one token of an answer, in the pool's unit.
        output_tokens: Length of its answer to calibration prompts [tokens], by prompt id; some may be left out.
    """

    price_in: float
    price_out: float
    output_tokens: Mapping[str, float]


def new_llm(
    calibration: CalibrationPrompts,
    name: str,
    scores: Mapping[str, float],
    cost: float,
    tokens: TokenPrices | None = None,
    flip_rate: float | None = 0.0,
) -> PooledLLM:
    """An LLM by its outcomes on calibration prompts.

    Args:
        calibration: The prompts.
        name: Of the LLM.
        scores: Quality in [0, 1] of its answers by prompt id; some may be left out.
        cost: Cost of one call.
        tokens: What comes to it where the LLM is paid by the token.
        flip_rate: As in :func:`sum_scores`.

    Raises:
        PoolError: As there; the cost is negative or not finite, or prices are given and no length.
    """
    token_cost = None if tokens is None else sum_output_tokens(calibration, tokens)
    sums = sum_scores(calibration, name, scores, flip_rate)
    return PooledLLM(name=name, cost=cost, sums=sums, token_cost=token_cost)


@torch.inference_mode()
def calibrated_pool(
    prompts: Mapping[str, str],
    scores: Mapping[str, Mapping[str, float]],
    cost: Mapping[str, float],
    cluster: Callable[[Sequence[str]], ClusterProbability],
    *,
    cost_unit: str,
    cost_is_estimate: bool,
) -> tuple[CalibrationPrompts, LLMPool]:
    """Calibration prompts and a pool from outcomes by name and prompt id.

    Args:
        prompts: Text of each calibration prompt, by prompt id.
        scores: Quality in [0, 1] of the answers of each LLM, by its name and prompt id; some may be left out.
        cost: Cost of one prompt for each LLM, by its name.
        cluster: Gives the cluster probabilities of texts.
        cost_unit: As in :func:`pool_of_outcomes`.
        cost_is_estimate: As there.

    Raises:
        PoolError: There are no prompts or LLMs, an LLM has no cost or no score, a prompt id is not one of ``prompts``,
            or a score or cost is out of range.
    """
    if not prompts or not scores:
        raise PoolError(f"calibrate: got {len(prompts)} prompts and {len(scores)} LLMs, expected some of both.")
    missing = [name for name in scores if name not in cost]
    if missing:
        raise PoolError(f"calibrate: no cost of {missing[0]!r}. Give every LLM a cost; 0 where it costs nothing.")
    texts = tuple(prompts.values())
    probability = cluster(texts).cpu()
    calibration = CalibrationPrompts(prompt_ids=tuple(prompts), texts=texts, cluster_probability=probability)
    outcomes = [errors_of(calibration, name, its_scores) for name, its_scores in scores.items()]
    error, observed = (torch.cat(parts, dim=1) for parts in zip(*outcomes, strict=True))
    costs = [cost[name] for name in scores]
    return pool_of_outcomes(
        calibration, list(scores), costs, error, observed, cost_unit=cost_unit, cost_is_estimate=cost_is_estimate
    )


def pool_of_outcomes(
    calibration: CalibrationPrompts,
    names: Sequence[str],
    cost: Sequence[float],
    error: ErrorMatrix,
    observed: ObservedMatrix,
    *,
    cost_unit: str,
    cost_is_estimate: bool,
) -> tuple[CalibrationPrompts, LLMPool]:
    """A pool of LLMs from their outcomes on calibration prompts, and these prompts with their difficulty.

    Args:
        calibration: The prompts.
        names: Of the LLMs.
        cost: Cost of one prompt for each. The highest becomes the reference cost, or 1 where all cost nothing.
        error: Errors of the LLMs on the prompts, in [0, 1]; ignored where not observed.
        observed: Which pairs were observed; at least one of each LLM.
        cost_unit: What costs are measured in, for people.
        cost_is_estimate: Whether costs were estimated, not billed or listed.

    Raises:
        PoolError: A name is empty or occurs twice, or a cost is negative or not finite.
    """
    sums = sum_adjusted(calibration.cluster_probability, error, observed, calibration.adjustment)
    rows = zip(*(torch.split(part, 1) for part in sums), strict=True)
    pool = LLMPool(
        llms=tuple(
            PooledLLM(name=name, cost=its_cost, sums=ClusterSums(*row))
            for name, its_cost, row in zip(names, cost, rows, strict=True)
        ),
        num_clusters=calibration.cluster_probability.shape[1],
        cost_unit=cost_unit,
        cost_is_estimate=cost_is_estimate,
        reference_cost=max(cost) or 1.0,
    )
    return replace(calibration, difficulty=fit_difficulty(error, observed)), pool


def sum_scores(
    calibration: CalibrationPrompts, name: str, scores: Mapping[str, float], flip_rate: float | None = 0.0
) -> ClusterSums:
    """Sums of one LLM from its scores by prompt id.

    Args:
        calibration: The prompts.
        name: Of the LLM, for messages.
        scores: Quality in [0, 1] by prompt id.
        flip_rate: Share of the scores that are wrong, in [0, 0.5); None to estimate it.

    Raises:
        PoolError: There are no scores, one is of another prompt, or one is outside [0, 1]; the flip rate is out of
            range, or is given to a router that does not know how hard its calibration prompts are.
    """
    error, observed = errors_of(calibration, name, scores)
    if flip_rate != 0:
        if calibration.difficulty is None:
            raise PoolError(
                "flip_rate: this router does not know how hard its calibration prompts are. Train or adopt it again, "
                "or set the flip rate to 0."
            )
        rate = float(estimate_flip_rate(error, observed, calibration.difficulty)) if flip_rate is None else flip_rate
        error = correct_flips(error, observed, calibration.difficulty, rate)
    return sum_adjusted(calibration.cluster_probability, error, observed, calibration.adjustment)


def errors_of(
    calibration: CalibrationPrompts, name: str, scores: Mapping[str, float]
) -> tuple[ErrorMatrix, ObservedMatrix]:
    """Errors of one LLM on the calibration prompts, and which of them were observed, from its scores by prompt id.

    Raises:
        PoolError: There are no scores, one is of another prompt, or one is outside [0, 1].
    """
    if not scores:
        raise PoolError(f"scores of {name!r}: empty; expected the score of at least one calibration prompt.")
    row_of = {prompt_id: row for row, prompt_id in enumerate(calibration.prompt_ids)}
    error = torch.zeros(len(row_of), 1)
    observed = torch.zeros(len(row_of), 1, dtype=torch.bool)
    for prompt_id, score in scores.items():
        if prompt_id not in row_of:
            raise PoolError(
                f"scores of {name!r}: {prompt_id!r} is not a calibration prompt of this router. "
                "Its prompts and their ids are in calibration_prompts.json."
            )
        if not 0 <= score <= 1:
            raise PoolError(f"scores of {name!r}: got {score} for {prompt_id!r}, expected a score in [0, 1].")
        error[row_of[prompt_id]] = 1 - score
        observed[row_of[prompt_id]] = True
    return error, observed


def sum_output_tokens(calibration: CalibrationPrompts, prices: TokenPrices) -> TokenCost:
    """Token cost of one LLM from the lengths of its answers.

    Raises:
        PoolError: There is no length, one is of another prompt or negative, or a price is out of range.
    """
    tokens = torch.tensor([prices.output_tokens.get(prompt_id, torch.nan) for prompt_id in calibration.prompt_ids])
    counted = ~tokens.isnan()
    known = set(calibration.prompt_ids)
    for prompt_id, length in prices.output_tokens.items():
        if prompt_id not in known or not 0 <= length < float("inf"):
            expected = "at least 0 for a calibration prompt"
            raise PoolError(f"output tokens: got {length} for {prompt_id!r}, expected a number of {expected}.")
    return sum_tokens(
        calibration.cluster_probability, tokens, counted, price_in=prices.price_in, price_out=prices.price_out
    )


def cost_of_prompts(
    head: ClusterHead, calibration: CalibrationPrompts, pool: LLMPool, latency_weight: float = 0.0
) -> PromptCost:
    """What prompts cost with each LLM of a pool, in its cost unit; typical prompts are the calibration prompts.

    Args:
        head: Its shrinkage is that of the lengths of answers.
        calibration: The calibration prompts.
        pool: The LLMs.
        latency_weight: What a second costs [cost unit / second].

    Raises:
        PoolError: The latency weight is negative or not finite, or a latency counts that is not known.
    """
    share = calibration.cluster_probability.mean(0)
    typical_tokens = float(count_tokens(calibration.texts).mean())
    return pool.prompt_cost(share, typical_tokens, float(head.shrinkage.detach()), latency_weight)
