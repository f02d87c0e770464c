"""What routing is expected to give over the calibration prompts, at every cost weight."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.metrics.deferral import DeferralCurve, curve_of_choices
from unirouter_torch.router.calibration import CalibrationPrompts
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.shapes import CostVector


class Expectation(NamedTuple):
    """Expectations by the estimates of a router; nothing is observed.

    Attributes:
        curve: Mean cost [cost unit] and mean quality of the chosen LLMs; cost weights are per reference cost [1].
        llm_cost: Mean cost of each LLM on all prompts [cost unit].
        llm_quality: 1 - mean estimated error of each LLM on all prompts.
        traffic: Share of the prompts that each LLM takes at each of the cost weights that were asked for.
    """

    curve: DeferralCurve
    llm_cost: CostVector
    llm_quality: CostVector
    traffic: Float[Tensor, "weight llm"]


@torch.inference_mode()
def expect(chooser: Chooser, calibration: CalibrationPrompts, cost_weights: tuple[float, ...] = ()) -> Expectation:
    """Expectations over the calibration prompts that an LLM may be chosen for.

    Args:
        chooser: What chooses; its cost weight is not looked at.
        calibration: Its calibration prompts, at least one.
        cost_weights: Where traffic is wanted [1].
    """
    probability, tokens = calibration.cluster_probability.cpu(), count_tokens(calibration.texts)
    choices = chooser.curve(probability, tokens)
    cost, error = chooser.cost.of_prompts(probability, tokens), chooser.estimate_error(probability).cpu()
    shares = [choices.shares(weight, len(chooser.pool.names)) for weight in cost_weights]
    return Expectation(
        curve=curve_of_choices(choices, cost, error),
        llm_cost=cost.mean(0),
        llm_quality=1 - error.double().mean(0),
        traffic=torch.stack(shares) if shares else cost.new_zeros(0, len(chooser.pool.names)),
    )
