"""The list of figures of merit: each value against a loop or a law, and what the list says of each."""

import pytest
import torch

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.metrics.deferral import (
    area_under_deferral_curve,
    deferral_curve,
    quality_neutral_cost,
    quality_of_competing,
)
from unirouter_torch.metrics.figures import FIGURE_OF, FIGURES, figures_of
from unirouter_torch.metrics.judged import Judged, Truth

COST = torch.tensor([0.02, 0.1, 0.3, 0.6, 1.0])


def made(seed=0, num_prompts=80, share_known=0.5, **settings):
    """Estimates that know a share of the truth, and the truth."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.arange(num_prompts) % 3
    difficulty = torch.rand(3, 5, generator=generator)[source]
    error = (torch.rand(num_prompts, 5, generator=generator) < difficulty).float()
    observed = torch.rand(num_prompts, 5, generator=generator) < 0.95
    estimated = share_known * error + (1 - share_known) * torch.rand(num_prompts, 5, generator=generator)
    names = ("ash", "beech", "cedar")
    return estimated, Truth(cost=COST, error=error, observed=observed, source=source, source_names=names, **settings)


def test_keys_and_titles_are_unique_and_each_is_in_a_table():
    assert len({figure.key for figure in FIGURES}) == len({figure.title for figure in FIGURES}) == len(FIGURES)
    assert {figure.table for figure in FIGURES} == {"merit", "saving"}


@pytest.mark.parametrize("axis", ["dearest", "range"])
def test_figures_of_the_paper_are_those_of_the_curve(axis):
    convention = CurveConvention(cost_axis=axis, interpolation="step", left="zero")
    estimated, truth = made(convention=convention)
    figures = figures_of(Judged(estimated, truth))
    curve = deferral_curve(estimated, COST, truth.error, truth.observed)
    assert figures["area"] == area_under_deferral_curve(curve, COST, convention)
    assert figures["area_50"] == area_under_deferral_curve(curve, COST, convention, 0.5) < figures["area"]
    reference = quality_of_competing(truth.error, truth.observed).max().item()
    assert figures["quality_neutral_cost"] == quality_neutral_cost(curve, COST, reference, convention)
    assert figures["peak_accuracy"] == max(curve.quality.tolist())
    pairs = truth.observed.nonzero().tolist()
    squares = [(estimated[x, h].double() - truth.error[x, h]).item() ** 2 for x, h in pairs]
    assert figures["mean_squared_error"] == pytest.approx(sum(squares) / len(squares), abs=1e-12)


def test_worst_regret_is_that_of_the_sources():
    judged = Judged(*made())
    figures = figures_of(judged)
    assert figures["worst_source_regret"] == max(scores.regret for scores in judged.sources.values())
    assert figures["expected_calibration_error"] == judged.reliability.expected_calibration_error


def test_full_quality_costs_what_the_quality_neutral_cost_says():
    estimated, truth = made()
    figures = figures_of(Judged(estimated, truth))
    best = truth.best_single
    assert figures["cost_at_100"] == pytest.approx(figures["quality_neutral_cost"] * float(COST.max()) / best.cost)


@pytest.mark.parametrize("seed", range(5))
def test_less_quality_never_costs_more(seed):
    figures = figures_of(Judged(*made(seed)))
    costs = [figures[f"cost_at_{percent}"] for percent in (95, 99, 100)]
    known = [cost for cost in costs if cost is not None]
    assert known == sorted(known)
    assert costs[: len(known)] == known, "what reaches more reaches less"


@pytest.mark.parametrize("seed", range(5))
def test_regret_is_0_for_the_oracle_and_1_for_the_best_constant_choice(seed):
    _, truth = made(seed)
    oracle = figures_of(Judged(truth.error, truth))
    assert oracle["oracle_regret"] == 0.0
    mean_error = torch.stack([truth.error[truth.observed[:, llm], llm].mean() for llm in range(5)])
    constant = figures_of(Judged(mean_error.expand(80, -1), truth))
    assert constant["oracle_regret"] == pytest.approx(1.0, abs=1e-6)
    assert constant["source_oracle_regret"] == pytest.approx(1.0, abs=1e-4)
    halfway = figures_of(Judged(*made(seed, share_known=0.3)))
    assert 0 < halfway["oracle_regret"] < 1


def test_source_oracle_has_no_regret_to_itself():
    _, truth = made()
    mean_error = torch.zeros(3, 5)
    for source in range(3):
        for llm in range(5):
            rows = (truth.source == source) & truth.observed[:, llm]
            mean_error[source, llm] = truth.error[rows, llm].mean()
    figures = figures_of(Judged(mean_error[truth.source], truth))
    assert figures["source_oracle_regret"] == pytest.approx(0.0, abs=1e-4)
    assert 0 < figures["oracle_regret"] < 1


def test_there_is_no_regret_where_nothing_can_be_gained():
    estimated, truth = made()
    one_source = Truth(
        cost=COST,
        error=truth.error,
        observed=truth.observed,
        source=torch.zeros(80, dtype=torch.long),
        source_names=("ash",),
    )
    assert figures_of(Judged(estimated, one_source))["source_oracle_regret"] is None
    without = Truth(cost=COST, error=truth.error, observed=truth.observed)
    assert figures_of(Judged(estimated, without))["source_oracle_regret"] is None
    assert figures_of(Judged(estimated, without))["worst_source_regret"] is None


def test_gain_has_the_sign_of_the_direction_and_nothing_is_worse_than_not_reached():
    area, cost = FIGURE_OF["area"], FIGURE_OF["cost_at_99"]
    assert area.gain(0.8, 0.7) == pytest.approx(0.1)
    assert cost.gain(0.8, 0.7) == pytest.approx(-0.1)
    assert cost.gain(None, 5.0) < 0 < cost.gain(5.0, None)
    assert cost.gain(None, None) == 0


def test_best_value_follows_the_direction():
    assert FIGURE_OF["area"].best([0.1, None, 0.3]) == 0.3
    assert FIGURE_OF["cost_at_99"].best([0.1, None, 0.3]) == 0.1
    assert FIGURE_OF["cost_at_99"].best([None]) is None


def test_best_single_llm_is_the_cheapest_of_equals():
    error = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    truth = Truth(cost=torch.tensor([2.0, 1.0, 0.5]), error=error, observed=torch.ones(2, 3, dtype=torch.bool))
    assert truth.best_single == (1, 0.5, 1.0)


def test_best_single_llm_was_observed_almost_everywhere():
    error = torch.ones(10, 2)
    error[:5] = 0.0
    observed = torch.ones(10, 2, dtype=torch.bool)
    observed[5:, 0] = False
    truth = Truth(cost=torch.tensor([1.0, 3.0]), error=error, observed=observed)
    assert truth.best_single == (1, 0.5, 3.0)
