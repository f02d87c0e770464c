import math

import pytest
import torch

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.judged import Judged, Truth
from unirouter_torch.metrics.resampled import resampled_cost_of_quality
from unirouter_torch.metrics.saving import cost_of_quality

COST = torch.tensor([0.3, 1.0, 0.1, 0.6])


def made(seed=0, num_prompts=60, share_known=0.5, **settings):
    generator = torch.Generator().manual_seed(seed)
    error = (torch.rand(num_prompts, 4, generator=generator) < torch.tensor([0.5, 0.2, 0.6, 0.4])).float()
    observed = torch.rand(num_prompts, 4, generator=generator) < 0.95
    observed[:2] = False
    estimated = share_known * error + (1 - share_known) * torch.rand(num_prompts, 4, generator=generator)
    return Judged(estimated, Truth(cost=COST, error=error, observed=observed, **settings))


@pytest.mark.parametrize("interpolation", ["linear", "step"])
@pytest.mark.parametrize("share_known", [0.5, 0.0, 1.0])
def test_each_resample_is_the_exact_curve_of_its_prompts(interpolation, share_known):
    judged = made(share_known=share_known, convention=CurveConvention(interpolation=interpolation))
    found = resampled_cost_of_quality(judged, 0.97, num_resamples=60)
    truth, best = judged.truth, judged.truth.best_single
    usable = truth.observed.any(-1).nonzero().squeeze(-1)
    generator = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.randint(len(usable), (n, len(usable)), generator=generator) for n in (50, 10)])
    assert len(found) == len(rows) == 60
    for value, drawn in zip(found.tolist(), usable[rows], strict=True):
        some = Judged(judged.estimated_error[drawn], truth.of_prompts(drawn))
        seen = some.truth.observed[:, best.column]
        quality = 1 - float(some.truth.error[seen, best.column].double().mean())
        expected = cost_of_quality(some.curve, COST, 0.97 * quality, best.cost, truth.convention)
        assert value == pytest.approx(math.inf if expected is None else expected, abs=1e-9)


def test_resamples_scatter_around_the_cost_on_all_prompts():
    judged = made(num_prompts=3000)
    best = judged.truth.best_single
    whole = cost_of_quality(judged.curve, COST, 0.99 * best.quality, best.cost)
    found = resampled_cost_of_quality(judged, 0.99)
    assert len(found) == 1000
    low, high = found.quantile(0.025), found.quantile(0.975)
    assert low < whole < high
    assert high - low < 0.3 * whole


def test_methods_meet_the_same_resamples():
    judged = made()
    again = Judged(judged.estimated_error, judged.truth)
    assert torch.equal(resampled_cost_of_quality(judged, 0.99), resampled_cost_of_quality(again, 0.99))


def test_free_best_llm_is_reached_at_no_cost():
    error = torch.tensor([[0.0, 1.0]]).expand(4, 2)
    truth = Truth(cost=torch.tensor([0.0, 1.0]), error=error, observed=torch.ones(4, 2, dtype=torch.bool))
    for estimated in (error, 1 - error):
        assert (resampled_cost_of_quality(Judged(estimated, truth), 1.0, 10) == 0).all()
