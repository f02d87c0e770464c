"""What a router is expected to save against its best single LLM, by its estimates for the calibration prompts."""

from typing import NamedTuple

import torch

from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.metrics.deferral import deferral_curve, read_quality
from unirouter_torch.router.calibration import CalibrationPrompts
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.routing.target import Target, Tuned

QUALITIES = (95, 99, 100)
BUDGETS = (10, 25, 50)


class ExpectedSaving(NamedTuple):
    """Expectations over the calibration prompts; the estimates decide, nothing is observed.

    Attributes:
        best_llm: The LLM of the least mean estimated error, of equals the cheapest, among those that take every prompt.
        best_cost: Its mean cost [cost unit].
        best_quality: 1 - its mean estimated error.
        cost_share: Mean cost of the tuned router over ``best_cost``; None where that is 0.
        quality_share: Its quality over ``best_quality``; None where that is 0.
        constant_quality: Of the best mix of single LLMs that reads no prompt, at the cost of the tuned router.
        cost_at: By a percentage of ``best_quality``, the least cost of the router over ``best_cost``; None where it is
            not reached.
        quality_at: By a percentage of the cost of the most expensive LLM, the quality of the router; None where even
            its cheapest choices cost more.
    """

    best_llm: str
    best_cost: float
    best_quality: float
    cost_share: float | None
    quality_share: float | None
    constant_quality: float
    cost_at: dict[int, float | None]
    quality_at: dict[int, float | None]


@torch.no_grad()
def expected_saving(chooser: Chooser, calibration: CalibrationPrompts, tuned: Tuned) -> ExpectedSaving | None:
    """What the router saves, at a tuned cost weight and at others.

    Args:
        chooser: What chooses.
        calibration: Its calibration prompts.
        tuned: A cost weight and what it gives.

    Returns:
        None where no LLM takes every prompt that can be routed.
    """
    probability, tokens = calibration.cluster_probability.cpu(), count_tokens(calibration.texts)
    fits = chooser.totals(probability, tokens).isfinite()
    rows = fits.any(-1)
    llms = fits[rows].all(0).nonzero().squeeze(-1)
    if len(llms) == 0:
        return None
    error = chooser.estimate_error(probability).cpu()[rows][:, llms].double().mean(0)
    cost = chooser.cost.of_prompts(probability, tokens)[rows][:, llms].double().mean(0)
    best = int(torch.where(error == error.min(), cost, torch.inf).argmin())
    best_cost, best_quality = float(cost[best]), 1 - float(error[best])
    hull = deferral_curve(error[None], cost, error[None])
    constant = read_quality(hull.cost.flip(0), hull.quality.flip(0), cost.new_tensor([tuned.cost]), "linear")

    def cost_at(percent: int) -> float | None:
        found = chooser.tune(
            calibration, Target(kind="quality", value=max(0.0, min(1.0, percent / 100 * best_quality)))
        )
        return found.cost / best_cost if found.is_reached and best_cost > 0 else None

    def quality_at(percent: int) -> float | None:
        found = chooser.tune(calibration, Target(kind="cost", value=percent / 100 * float(cost.max())))
        return found.quality if found.is_reached else None

    return ExpectedSaving(
        best_llm=chooser.pool.names[int(llms[best])],
        best_cost=best_cost,
        best_quality=best_quality,
        cost_share=tuned.cost / best_cost if best_cost > 0 else None,
        quality_share=tuned.quality / best_quality if best_quality > 0 else None,
        constant_quality=float(constant.quality[0]),
        cost_at={percent: cost_at(percent) for percent in QUALITIES},
        quality_at={percent: quality_at(percent) for percent in BUDGETS},
    )
