import pytest
import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.methods.kmeans import NUM_CLUSTERS, SHRINKAGE, UniRouteKMeans
from unirouter_torch.methods.method import NUM_TUNING_DRAWS
from unirouter_torch.methods.zero import ZeroRouter
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.clustering import assign_to_nearest, centroids_of


def fitted(num_clusters: int, shrinkage: float, train: Outcomes | None = None) -> UniRouteKMeans:
    method = UniRouteKMeans()
    method.centroids = centroids_of((train or outcomes(0)).embedding, seed=0)(num_clusters)
    method.shrinkage = shrinkage
    return method


@pytest.mark.parametrize("shrinkage", SHRINKAGE)
@pytest.mark.parametrize("density", [1.0, 0.5])
def test_estimate_is_the_shrunk_mean_of_a_loop(shrinkage: float, density: float) -> None:
    method, calibration, prompts = fitted(8, shrinkage), outcomes(2, density=density), outcomes(3, 20).embedding
    cluster = assign_to_nearest(calibration.embedding, method.centroids).argmax(-1)
    found = method.estimate_error(prompts, method.represent(calibration))
    for prompt, its_cluster in enumerate(assign_to_nearest(prompts, method.centroids).argmax(-1)):
        for llm in range(5):
            seen = [j for j in range(60) if calibration.observed[j, llm]]
            overall = sum(float(calibration.error[j, llm]) for j in seen) / len(seen)
            there = [float(calibration.error[j, llm]) for j in seen if cluster[j] == its_cluster]
            count = len(there) + shrinkage
            expected = (sum(there) + shrinkage * overall) / count if count else overall
            assert float(found[prompt, llm]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shrinkage", SHRINKAGE)
def test_cluster_without_calibration_prompts_takes_the_overall_error(shrinkage: float) -> None:
    method, calibration = fitted(4, shrinkage), outcomes(2)
    empty = int(assign_to_nearest(calibration.embedding, method.centroids).argmax(-1)[0])
    kept = assign_to_nearest(calibration.embedding, method.centroids).argmax(-1) != empty
    calibration = calibration.of_prompts(kept.nonzero().squeeze(-1))
    there = method.estimate_error(method.centroids[[empty]], method.represent(calibration))
    torch.testing.assert_close(there[0], ZeroRouter().represent(calibration))


def test_llm_that_was_not_observed_in_a_cluster_takes_its_own_overall_error_there() -> None:
    method, calibration = fitted(4, 0.0), outcomes(2)
    cluster = assign_to_nearest(calibration.embedding, method.centroids).argmax(-1)
    calibration.observed[cluster == 1, 2] = False
    found = method.represent(calibration)
    assert float(found[2, 1]) == pytest.approx(float(calibration.error[cluster != 1, 2].mean()))
    assert float(found[3, 1]) == pytest.approx(float(calibration.error[cluster == 1, 3].mean()))


def test_one_cluster_is_the_overall_error() -> None:
    method, calibration = fitted(1, 5.0), outcomes(2, density=0.6)
    torch.testing.assert_close(method.represent(calibration)[:, 0], ZeroRouter().represent(calibration))


@pytest.mark.parametrize("seed", range(3))
def test_clusters_and_shrinkage_are_those_of_largest_mean_area(seed: int) -> None:
    train, how = outcomes(4, 80), tuning(num_calibration=25, seed=seed)
    method = UniRouteKMeans()
    method.fit(trial_of(train, how))
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randperm(80, generator=generator)[:25] for _ in range(NUM_TUNING_DRAWS)]
    areas = {}
    for size in (number for number in NUM_CLUSTERS if number <= 25):
        for shrinkage in SHRINKAGE:
            candidate = UniRouteKMeans()
            candidate.centroids, candidate.shrinkage = how.centroids(size), shrinkage
            areas[size, shrinkage] = sum(
                how.area(
                    candidate.estimate_error(how.validation.embedding, candidate.represent(train.of_prompts(draw))),
                    how.validation,
                )
                for draw in draws
            )
    size, shrinkage = max(areas, key=lambda key: areas[key])
    assert method.describe() == {"num_clusters": size, "shrinkage": shrinkage}


def test_given_number_of_clusters_is_kept() -> None:
    method = UniRouteKMeans()
    method.fit(trial_of(outcomes(0), tuning()._replace(num_clusters=7)))
    assert method.describe()["num_clusters"] == 7
