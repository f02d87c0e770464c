import pytest
import torch

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.deferral import (
    area_under_deferral_curve,
    best_single_quality,
    deferral_curve,
    quality_neutral_cost,
)
from unirouter_torch.metrics.scores import (
    AreaUnderDeferralCurve,
    PairMeanSquaredError,
    QualityNeutralCost,
    deferral_metrics,
    score_method,
)

KEYS = ["area", "area_50", "quality_neutral_cost", "peak_accuracy", "mean_squared_error"]
CONVENTION = CurveConvention(cost_axis="range", interpolation="step", left="zero")


def make_outcomes(num_prompts=60, num_llms=6):
    generator = torch.Generator().manual_seed(3)
    estimated = torch.rand(num_prompts, num_llms, generator=generator)
    error = (torch.rand(num_prompts, num_llms, generator=generator) < estimated).float()
    observed = torch.rand(num_prompts, num_llms, generator=generator) < 0.9
    error[~observed] = torch.nan
    return estimated, error, observed


COST = torch.tensor([1.0, 0.3, 2.5, 4.0, 0.9, 1.7])


@pytest.mark.parametrize("convention", [CurveConvention(), CONVENTION], ids=str)
def test_batches_in_any_order_give_the_figures_of_the_whole(convention):
    estimated, error, observed = make_outcomes()
    metrics = deferral_metrics(COST, convention)
    for prompts in torch.randperm(60, generator=torch.Generator().manual_seed(0)).split(17):
        metrics.update(estimated[prompts], error[prompts], observed[prompts])
    whole = score_method(estimated, COST, error, observed, convention)
    figures = metrics.compute()
    assert sorted(figures) == sorted(KEYS)
    for key, figure in figures.items():
        assert float(figure) == pytest.approx(getattr(whole, key), abs=1e-12)


def test_scores_are_those_of_the_curve():
    estimated, error, observed = make_outcomes()
    scores = score_method(estimated, COST, error, observed, CONVENTION)
    curve = deferral_curve(estimated, COST, error, observed)
    assert scores.area == area_under_deferral_curve(curve, COST, CONVENTION)
    assert scores.area_50 == area_under_deferral_curve(curve, COST, CONVENTION, 0.5) < scores.area
    reference = best_single_quality(error, observed)
    assert scores.quality_neutral_cost == quality_neutral_cost(curve, COST, reference, CONVENTION)
    assert scores.peak_accuracy == max(scores.curve.quality.tolist()) > reference
    squares = [(estimated[x, h].double() - error[x, h]).item() ** 2 for x, h in observed.nonzero().tolist()]
    assert scores.mean_squared_error == pytest.approx(sum(squares) / len(squares), abs=1e-12)


def test_quality_never_reached_is_nan_and_none():
    error = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    observed = torch.ones(2, 2, dtype=torch.bool)
    cost = torch.tensor([2.0, 1.0])
    metric = QualityNeutralCost(cost)
    metric.update(1 - error, error, observed)
    assert metric.compute().isnan()
    assert score_method(1 - error, cost, error, observed).quality_neutral_cost is None


def test_reset_forgets_prompts_but_not_the_pool():
    estimated, error, observed = make_outcomes()
    metric = AreaUnderDeferralCurve(COST)
    metric.update(error.nan_to_num(), error, observed)
    metric.reset()
    metric.update(estimated, error, observed)
    assert float(metric.compute()) == score_method(estimated, COST, error, observed).area


def test_squared_error_without_any_pair_is_nan():
    metric = PairMeanSquaredError()
    metric.update(torch.ones(2, 2), torch.ones(2, 2), torch.zeros(2, 2, dtype=torch.bool))
    assert metric.compute().isnan()


def test_merged_workers_give_the_figures_of_the_whole():
    outcomes = make_outcomes()
    whole = score_method(outcomes[0], COST, *outcomes[1:])
    workers = [deferral_metrics(COST), deferral_metrics(COST)]
    for metrics, share in zip(workers, (slice(0, 25), slice(25, None)), strict=True):
        metrics.update(*(matrix[share] for matrix in outcomes))
    for key in KEYS:
        workers[0][key].merge_state(workers[1][key])
        assert float(workers[0][key].compute()) == pytest.approx(getattr(whole, key), abs=1e-12)
