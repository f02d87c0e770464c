import pytest
import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.methods.hierarchical_shrinkage import (
    NUM_COARSE,
    NUM_FINE,
    SHRINKAGE,
    HierarchicalShrinkage,
    ShippedHierarchicalShrinkage,
)
from unirouter_torch.methods.method import NUM_TUNING_DRAWS
from unirouter_torch.methods.registry import method_class
from unirouter_torch.methods.zero import ZeroRouter
from unirouter_torch.training.clustering import assign_to_nearest, centroids_of


def fitted(shrinkage: float, num_coarse: int = 3, num_fine: int = 9) -> HierarchicalShrinkage:
    method = HierarchicalShrinkage()
    method.coarse = centroids_of(outcomes(0).embedding, seed=0)(num_coarse)
    method.fine = centroids_of(outcomes(0).embedding, seed=0)(num_fine)
    method.shrinkage = shrinkage
    return method


@pytest.mark.parametrize("shrinkage", [1.0, 10.0])
@pytest.mark.parametrize("density", [1.0, 0.4])
def test_estimate_is_the_formula_as_a_loop(shrinkage: float, density: float) -> None:
    method, calibration, prompts = fitted(shrinkage), outcomes(2, density=density), outcomes(3, 20).embedding
    found = method.estimate_error(prompts, method.represent(calibration))
    clusters = [
        [assign_to_nearest(embedding, centroids).argmax(-1).tolist() for centroids in (method.coarse, method.fine)]
        for embedding in (calibration.embedding, prompts)
    ]
    (coarse, fine), (its_coarse, its_fine) = clusters
    for prompt in range(20):
        for llm in range(5):
            seen = [j for j in range(60) if calibration.observed[j, llm]]
            errors = {j: float(calibration.error[j, llm]) for j in seen}
            estimate = sum(errors.values()) / len(errors)
            for cluster, own in ((coarse, its_coarse[prompt]), (fine, its_fine[prompt])):
                there = [errors[j] for j in seen if cluster[j] == own]
                estimate = (sum(there) + shrinkage * estimate) / (len(there) + shrinkage)
            assert float(found[prompt, llm]) == pytest.approx(estimate, abs=1e-6)


def test_strong_shrinkage_gives_the_overall_error_and_a_weak_one_the_fine_mean() -> None:
    calibration, prompts = outcomes(2), outcomes(3).embedding
    strong, weak = fitted(1e7), fitted(1e-6)
    overall = ZeroRouter().represent(calibration).expand(60, -1)
    torch.testing.assert_close(
        strong.estimate_error(prompts, strong.represent(calibration)), overall, rtol=0, atol=1e-4
    )
    cluster = assign_to_nearest(calibration.embedding, weak.fine).argmax(-1)
    found = weak.estimate_error(prompts, weak.represent(calibration))
    for row, own in zip(found, assign_to_nearest(prompts, weak.fine).argmax(-1), strict=True):
        if (cluster == own).any():
            torch.testing.assert_close(row, calibration.error[cluster == own].mean(0), rtol=0, atol=1e-4)


def test_fine_cluster_without_calibration_prompts_takes_the_error_of_the_coarse_one() -> None:
    method, calibration = fitted(3.0, num_coarse=2), outcomes(2)
    fine = assign_to_nearest(calibration.embedding, method.fine).argmax(-1)
    empty = int(fine[0])
    calibration = calibration.of_prompts((fine != empty).nonzero().squeeze(-1))
    prompt = method.fine[[empty]]
    features = method.represent(calibration)
    coarse = int(assign_to_nearest(prompt, method.coarse).argmax(-1))
    torch.testing.assert_close(method.estimate_error(prompt, features)[0], features.coarse[:, coarse])


def test_llm_without_outcomes_is_estimated_at_one_half() -> None:
    method, calibration = fitted(3.0), outcomes(2)
    calibration.observed[:, 1] = False
    found = method.estimate_error(outcomes(3).embedding, method.represent(calibration))
    assert (found[:, 1] == 0.5).all()
    assert not (found[:, 0] == 0.5).all()


def test_estimates_lie_in_the_unit_interval_and_follow_the_order_of_llms() -> None:
    method, calibration, prompts = fitted(1.0), outcomes(2, density=0.5), outcomes(3).embedding
    found = method.estimate_error(prompts, method.represent(calibration))
    assert ((found >= 0) & (found <= 1)).all()
    order = torch.tensor([3, 1, 4, 0, 2])
    permuted = method.estimate_error(prompts, method.represent(calibration.of_llms(order)))
    torch.testing.assert_close(permuted, found[:, order])


@pytest.mark.parametrize("spread", [0.0, 0.2, 1.0])
def test_shrinkage_is_that_of_largest_mean_area(spread: float) -> None:
    # this area likes estimates of some spread, so that each time another shrinkage is the best
    train, seed = outcomes(4, 60), 3
    how = tuning(num_calibration=25, seed=seed)._replace(area=lambda estimate, _: -abs(float(estimate.std()) - spread))
    method = HierarchicalShrinkage()
    method.fit(trial_of(train, how))
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randperm(60, generator=generator)[:25] for _ in range(NUM_TUNING_DRAWS)]
    areas = {}
    for shrinkage in SHRINKAGE:
        candidate = HierarchicalShrinkage()
        candidate.coarse, candidate.fine, candidate.shrinkage = how.centroids(20), how.centroids(60), shrinkage
        areas[shrinkage] = sum(
            how.area(
                candidate.estimate_error(how.validation.embedding, candidate.represent(train.of_prompts(draw))),
                how.validation,
            )
            for draw in draws
        )
    best = max(areas, key=lambda shrinkage: areas[shrinkage])
    assert method.describe() == {"shrinkage": best}
    assert (best == SHRINKAGE[0], best == SHRINKAGE[-1]) == (spread == 1.0, spread == 0.0)


def test_there_are_no_more_clusters_than_training_prompts() -> None:
    asked: list[int] = []
    how = tuning()
    asking = how._replace(centroids=lambda size: asked.append(size) or how.centroids(size))
    HierarchicalShrinkage().fit(trial_of(outcomes(0, 30), asking))
    assert asked == [NUM_COARSE, 30]
    assert NUM_FINE > 30


def test_shipped_form_has_20_and_100_clusters_and_strength_24_whatever_the_area() -> None:
    train, method = outcomes(0, 120), ShippedHierarchicalShrinkage()
    how = tuning()._replace(
        centroids=centroids_of(train.embedding, 0), area=lambda *_: pytest.fail("nothing is chosen")
    )
    method.fit(trial_of(train, how))
    assert (len(method.coarse), len(method.fine), method.shrinkage) == (20, 100, 24.0)
    assert method_class("hierarchical_shrinkage_24") is ShippedHierarchicalShrinkage
    same, calibration, prompts = fitted(24.0), outcomes(2), outcomes(3).embedding
    method.coarse, method.fine = same.coarse, same.fine
    expected = same.estimate_error(prompts, same.represent(calibration))
    torch.testing.assert_close(method.estimate_error(prompts, method.represent(calibration)), expected)
