import math

import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.methods.best_single import BestSingle
from unirouter_torch.metrics.deferral import deferral_curve
from unirouter_torch.routing.outcomes import Outcomes


def calibrated(error: list[list[float]], observed: list[list[bool]] | None = None) -> Outcomes:
    values = torch.tensor(error)
    seen = torch.ones_like(values, dtype=torch.bool) if observed is None else torch.tensor(observed)
    return Outcomes(torch.zeros(len(values), 2), values, seen)


def test_llm_of_least_mean_error_is_estimated_at_zero_and_all_others_at_one() -> None:
    for seed in range(5):
        calibration = outcomes(seed, density=0.6)
        means = []
        for llm in range(5):
            errors = [
                float(error)
                for error, seen in zip(calibration.error[:, llm], calibration.observed[:, llm], strict=True)
                if seen
            ]
            means.append(sum(errors) / len(errors))
        best = means.index(min(means))
        method = BestSingle()
        method.fit(trial_of(outcomes(0), tuning()))
        estimate = method.estimate_error(torch.zeros(3, 8), method.represent(calibration))
        assert estimate.tolist() == [[0.0 if llm == best else 1.0 for llm in range(5)]] * 3


def test_first_of_equals_is_the_best() -> None:
    assert BestSingle().represent(calibrated([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]])).tolist() == [1.0, 0.0, 1.0]


def test_errors_that_were_not_observed_do_not_count() -> None:
    calibration = calibrated([[0.2, 0.0], [0.2, 1.0]], [[True, False], [True, True]])
    assert BestSingle().represent(calibration).tolist() == [0.0, 1.0]


def test_curve_is_two_points_the_best_llm_and_the_cheapest() -> None:
    error = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    features = BestSingle().represent(Outcomes(torch.zeros(2, 2), error, torch.ones(2, 3, dtype=torch.bool)))
    curve = deferral_curve(features.expand(2, -1), torch.tensor([1.0, 2.0, 5.0]), error)
    assert curve.cost.tolist() == [5.0, 1.0]
    assert curve.quality.tolist() == [1.0, 0.0]
    assert math.isclose(curve.cost_weight[1], 1 / (5 - 1))
