import pytest
import torch

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.figures import FIGURES, figures_of
from unirouter_torch.metrics.judged import Judged, Truth
from unirouter_torch.metrics.scores import DeferralFigures, score

STREAMED = ["area", "area_50", "quality_neutral_cost", "peak_accuracy", "mean_squared_error"]
CONVENTION = CurveConvention(cost_axis="range", interpolation="step", left="zero")


def make_outcomes(num_prompts=60, num_llms=6):
    generator = torch.Generator().manual_seed(3)
    estimated = torch.rand(num_prompts, num_llms, generator=generator)
    error = (torch.rand(num_prompts, num_llms, generator=generator) < estimated).float()
    observed = torch.rand(num_prompts, num_llms, generator=generator) < 0.9
    error[~observed] = torch.nan
    return estimated, error, observed


COST = torch.tensor([1.0, 0.3, 2.5, 4.0, 0.9, 1.7])


def figures_of_whole(convention=CurveConvention()):  # noqa: B008
    estimated, error, observed = make_outcomes()
    return figures_of(Judged(estimated, Truth(cost=COST, error=error, observed=observed, convention=convention)))


@pytest.mark.parametrize("convention", [CurveConvention(), CONVENTION], ids=str)
def test_batches_in_any_order_give_the_figures_of_the_whole(convention):
    estimated, error, observed = make_outcomes()
    metric = DeferralFigures(COST, convention, FIGURES)
    for prompts in torch.randperm(60, generator=torch.Generator().manual_seed(0)).split(17):
        metric.update(estimated[prompts], error[prompts], observed[prompts])
    figures = metric.compute()
    whole = figures_of_whole(convention)
    assert list(figures) == [figure.key for figure in FIGURES] == list(whole)
    for key, figure in figures.items():
        expected = torch.nan if whole[key] is None else whole[key]
        assert float(figure) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_training_streams_a_few_figures():
    metric = DeferralFigures(COST)
    metric.update(*make_outcomes())
    assert list(metric.compute()) == STREAMED


def test_scores_are_the_figures_and_the_curve():
    estimated, error, observed = make_outcomes()
    judged = Judged(estimated, Truth(cost=COST, error=error, observed=observed))
    scores = score(judged)
    assert scores.figures == figures_of_whole()
    assert all(torch.equal(one, other) for one, other in zip(scores.curve, judged.curve, strict=True))


def test_quality_never_reached_is_nan():
    error = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    metric = DeferralFigures(torch.tensor([2.0, 1.0]))
    metric.update(1 - error, error, torch.ones(2, 2, dtype=torch.bool))
    assert metric.compute()["quality_neutral_cost"].isnan()


def test_reset_forgets_prompts_but_not_the_pool():
    estimated, error, observed = make_outcomes()
    metric = DeferralFigures(COST)
    metric.update(error.nan_to_num(), error, observed)
    metric.reset()
    metric.update(estimated, error, observed)
    assert float(metric.compute()["area"]) == figures_of_whole()["area"]


def test_merged_workers_give_the_figures_of_the_whole():
    outcomes = make_outcomes()
    workers = [DeferralFigures(COST), DeferralFigures(COST)]
    for metric, share in zip(workers, (slice(0, 25), slice(25, None)), strict=True):
        metric.update(*(matrix[share] for matrix in outcomes))
    workers[0].merge_state(workers[1])
    for key, figure in workers[0].compute().items():
        assert float(figure) == pytest.approx(figures_of_whole()[key], abs=1e-12)
