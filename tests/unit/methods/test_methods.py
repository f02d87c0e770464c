"""Each method against a reference of a few lines, and the laws that hold for all."""

import pytest
import torch
from made_outcomes import outcomes, trial_of, tuning
from sklearn.neighbors import KNeighborsRegressor

from unirouter_torch.methods.kmeans import UniRouteKMeans
from unirouter_torch.methods.knn import KNearestNeighbors, nearest_mean_errors
from unirouter_torch.methods.method import NUM_TUNING_DRAWS, choose_by_area
from unirouter_torch.methods.oracle import Oracle
from unirouter_torch.methods.zero import ZeroRouter
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.clustering import assign_to_nearest, centroids_of


@pytest.mark.parametrize("method", [ZeroRouter(), KNearestNeighbors(), UniRouteKMeans()])
@pytest.mark.parametrize("density", [1.0, 0.5])
def test_estimates_lie_in_the_unit_interval_and_follow_the_order_of_llms(method, density: float) -> None:
    method.fit(trial_of(outcomes(0, density=density), tuning()))
    calibration, prompts = outcomes(2, density=density), outcomes(3).embedding
    estimate = method.estimate_error(prompts, method.represent(calibration))
    assert ((estimate >= 0) & (estimate <= 1)).all()
    order = torch.tensor([3, 1, 4, 0, 2])
    permuted = method.estimate_error(prompts, method.represent(calibration.of_llms(order)))
    torch.testing.assert_close(permuted, estimate[:, order])


@pytest.mark.parametrize("method", [KNearestNeighbors(), UniRouteKMeans()])
def test_methods_that_read_the_prompt_beat_the_one_that_does_not(method) -> None:
    calibration, test = outcomes(2, 100), outcomes(3, 200)

    def squared_error(method) -> float:
        method.fit(trial_of(outcomes(0, 200), tuning()))
        estimate = method.estimate_error(test.embedding, method.represent(calibration))
        return float((estimate - test.error).square().mean())

    assert squared_error(method) < 0.7 * squared_error(ZeroRouter())


def test_zero_router_estimates_the_mean_over_observed_calibration_prompts() -> None:
    calibration = outcomes(2, density=0.5)
    estimate = ZeroRouter().estimate_error(torch.zeros(3, 8), ZeroRouter().represent(calibration))
    for llm in range(5):
        expected = calibration.error[calibration.observed[:, llm], llm].mean()
        assert estimate[:, llm].tolist() == pytest.approx([expected.item()] * 3)


@pytest.mark.parametrize("density", [1.0, 0.6])
def test_nearest_mean_errors_equal_scikit_learn_fitted_for_each_llm_and_number(density: float) -> None:
    calibration, prompts = outcomes(2, density=density), outcomes(3, 20).embedding
    numbers = [7, 1, 90, 20]
    for number, found in zip(numbers, nearest_mean_errors(prompts, calibration, numbers), strict=True):
        for llm in range(5):
            rows = calibration.observed[:, llm]
            reference = KNeighborsRegressor(n_neighbors=min(number, int(rows.sum())), metric="cosine")
            reference.fit(calibration.embedding[rows].numpy(), calibration.error[rows, llm].numpy())
            torch.testing.assert_close(found[:, llm], torch.from_numpy(reference.predict(prompts.numpy())).float())


def test_what_was_not_observed_does_not_enter_a_mean_of_neighbours() -> None:
    calibration = outcomes(2, density=0.6)
    other = calibration._replace(error=calibration.error.where(calibration.observed, torch.nan))
    prompts = outcomes(3).embedding
    found, expected = (nearest_mean_errors(prompts, given, [5])[0] for given in (other, calibration))
    assert torch.equal(found, expected)


def test_llm_without_outcomes_has_no_neighbours_and_takes_one_half() -> None:
    calibration = outcomes(2)
    calibration.observed[:, 1] = False
    found = nearest_mean_errors(outcomes(3).embedding, calibration, [5])[0]
    assert (found[:, 1] == 0.5).all()
    assert not (found[:, 0] == 0.5).all()


def test_kmeans_estimate_is_the_mean_error_in_the_cluster_of_the_prompt() -> None:
    method = UniRouteKMeans()
    method.centroids = centroids_of(outcomes(0).embedding, seed=0)(4)
    method.shrinkage = 0.0
    calibration, prompts = outcomes(2), outcomes(3, 20).embedding
    found = method.estimate_error(prompts, method.represent(calibration))

    def cluster_of(point: torch.Tensor) -> int:
        return min(range(4), key=lambda k: float((point - method.centroids[k]).square().sum()))

    for row, prompt in enumerate(prompts):
        same = [j for j in range(60) if cluster_of(calibration.embedding[j]) == cluster_of(prompt)]
        expected = calibration.error[same].mean(0) if same else calibration.error.mean(0)
        torch.testing.assert_close(found[row], expected)


def test_hard_assignment_is_one_hot() -> None:
    assignment = assign_to_nearest(outcomes(0).embedding, outcomes(1).embedding[:6])
    assert (assignment.sum(-1) == 1).all()
    assert assignment.max(-1).values.eq(1).all()


def test_oracle_estimates_the_truth() -> None:
    test = outcomes(3)
    oracle = Oracle()
    oracle.fit(trial_of(outcomes(0), tuning(), test=test))
    assert torch.equal(oracle.estimate_error(test.embedding, oracle.represent(outcomes(2))), test.error)


def test_tuning_represents_llms_by_as_many_prompts_as_onboarding_will() -> None:
    sizes: list[int] = []
    mean = float(outcomes(1).error.mean())
    candidates = [mean + 0.3, mean, mean - 0.2]

    def estimate(calibration: Outcomes) -> list[torch.Tensor]:
        sizes.append(len(calibration.error))
        return [torch.full((60, 5), candidate) for candidate in candidates]

    assert choose_by_area(candidates, estimate, trial_of(outcomes(0), tuning(num_calibration=13))) == mean
    assert sizes == [13] * NUM_TUNING_DRAWS


def test_tuning_gives_ties_to_the_earlier_candidate() -> None:
    assert choose_by_area([1, 2], lambda _: [torch.zeros(60, 5)] * 2, trial_of(outcomes(0), tuning())) == 1
