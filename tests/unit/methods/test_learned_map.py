import pytest
import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.methods.kmeans import UniRouteKMeans
from unirouter_torch.methods.learned_map import NUM_CLUSTERS, SHARPNESS, LearnedMap, soft_nearest
from unirouter_torch.methods.method import NUM_TUNING_DRAWS
from unirouter_torch.methods.zero import ZeroRouter
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.clustering import assign_to_nearest


def fitted(num_clusters: int | None = None, train: Outcomes | None = None, **changes: int) -> LearnedMap:
    method = LearnedMap()
    method.fit(trial_of(train or outcomes(0, 200), tuning(**changes)._replace(num_clusters=num_clusters)))
    return method


def loss(estimate: torch.Tensor, truth: Outcomes) -> float:
    """Mean cross-entropy over observed pairs, as a formula."""
    estimate = estimate.double().clamp(1e-4, 1 - 1e-4)
    entropy = -truth.error * estimate.log() - (1 - truth.error) * (1 - estimate).log()
    return float(entropy[truth.observed].mean())


def test_start_is_a_soft_assignment_to_the_nearest_centroid() -> None:
    points, centroids = outcomes(0).embedding, outcomes(1).embedding[:6]
    found = soft_nearest(centroids)(points).softmax(-1)
    weight = torch.tensor(
        [[float(torch.exp(-SHARPNESS / 2 * (p - c).square().sum())) for c in centroids] for p in points],
        dtype=torch.float64,
    )
    torch.testing.assert_close(found.double(), weight / weight.sum(-1, keepdim=True), rtol=1e-4, atol=1e-6)
    assert torch.equal(found.argmax(-1), assign_to_nearest(points, centroids).argmax(-1))


def test_cluster_errors_are_those_of_kmeans_and_do_not_depend_on_the_map() -> None:
    method, calibration = fitted(5), outcomes(2, density=0.6)
    kmeans = UniRouteKMeans()
    kmeans.centroids = method.centroids
    before = method.represent(calibration)
    assert torch.equal(before, kmeans.represent(calibration))
    with torch.no_grad():
        method.map.weight.normal_()
        method.map.bias.normal_()
    assert torch.equal(before, method.represent(calibration))


def test_estimate_is_the_inner_product_of_soft_assignment_and_cluster_errors() -> None:
    method, calibration, prompts = fitted(5), outcomes(2), outcomes(3, 10).embedding
    features = method.represent(calibration)
    found = method.estimate_error(prompts, features)
    for row, prompt in zip(found, prompts, strict=True):
        logits = [
            float(w @ prompt + b) for w, b in zip(method.map.weight.detach(), method.map.bias.detach(), strict=True)
        ]
        weights = torch.tensor(logits, dtype=torch.float64).exp()
        expected = sum(weight * features[:, k].double() for k, weight in enumerate(weights / weights.sum()))
        torch.testing.assert_close(row.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_clusters", [2, 5, 10])
def test_training_lowers_the_loss_on_the_training_prompts(num_clusters: int) -> None:
    train, how = outcomes(0, 200), tuning()
    method = fitted(num_clusters)
    features = method.represent(how.validation)
    start = LearnedMap()
    start.map = soft_nearest(how.centroids(num_clusters))
    before = loss(start.estimate_error(train.embedding, features), train)
    after = loss(method.estimate_error(train.embedding, features), train)
    assert after < before


def test_pairs_that_were_not_observed_do_not_move_the_map() -> None:
    train = outcomes(0, 200, density=0.5)
    other = train._replace(error=torch.where(train.observed, train.error, 1 - train.error))
    assert torch.equal(fitted(5, train).map.weight, fitted(5, other).map.weight)


def test_one_cluster_is_the_overall_error() -> None:
    method, calibration = fitted(1), outcomes(2, density=0.6)
    found = method.estimate_error(outcomes(3).embedding, method.represent(calibration))
    torch.testing.assert_close(found, ZeroRouter().represent(calibration).expand(60, -1))


@pytest.mark.parametrize("sign", [1, -1])
def test_number_of_clusters_is_that_of_largest_mean_area_and_its_map_that_of_its_own_training(sign: int) -> None:
    train, seed = outcomes(0, 200), 1
    plain = tuning(num_calibration=25, seed=seed)
    how = plain._replace(area=lambda estimate, truth: sign * plain.area(estimate, truth))
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randperm(200, generator=generator)[:25] for _ in range(NUM_TUNING_DRAWS)]
    candidates = {size: fitted(size, num_calibration=25, seed=seed) for size in NUM_CLUSTERS if size <= 25}
    areas = {
        size: sum(
            how.area(
                candidate.estimate_error(how.validation.embedding, candidate.represent(train.of_prompts(draw))),
                how.validation,
            )
            for draw in draws
        )
        for size, candidate in candidates.items()
    }
    best = max(areas, key=lambda size: areas[size])
    assert (best == NUM_CLUSTERS[0]) == (sign == 1)  # so that the first candidate is not always the best
    method = LearnedMap()
    method.fit(trial_of(train, how))
    assert method.describe() == {"num_clusters": best}
    torch.testing.assert_close(method.map.weight, candidates[best].map.weight, rtol=1e-4, atol=1e-5)


def test_estimates_lie_in_the_unit_interval_and_follow_the_order_of_llms() -> None:
    method, calibration, prompts = fitted(5), outcomes(2, density=0.5), outcomes(3).embedding
    found = method.estimate_error(prompts, method.represent(calibration))
    assert ((found >= 0) & (found <= 1)).all()
    order = torch.tensor([3, 1, 4, 0, 2])
    permuted = method.estimate_error(prompts, method.represent(calibration.of_llms(order)))
    torch.testing.assert_close(permuted, found[:, order])


def test_trained_map_beats_the_estimate_that_ignores_the_prompt() -> None:
    method, calibration, test = fitted(), outcomes(2, 100), outcomes(3, 200)
    found = method.estimate_error(test.embedding, method.represent(calibration))
    overall = ZeroRouter().represent(calibration).expand(200, -1)
    assert loss(found, test) < 0.8 * loss(overall, test)


def test_surface_features_beside_the_embedding_are_no_part_of_the_clusters_but_of_the_map() -> None:
    def with_form(found: Outcomes, seed: int) -> Outcomes:
        form = torch.randn(len(found.embedding), 3, generator=torch.Generator().manual_seed(seed))
        return found._replace(embedding=torch.cat([found.embedding, form], dim=1))

    train, how = outcomes(0, 200), tuning()
    how = how._replace(validation=with_form(how.validation, 1), form_dim=3, num_clusters=5)
    method = LearnedMap()
    method.fit(trial_of(with_form(train, 0), how))
    dim = train.embedding.shape[1]
    assert torch.equal(method.centroids, how.centroids(5)) and method.centroids.shape[1] == dim
    assert method.map.weight.shape == (5, dim + 3) and bool((method.map.weight[:, dim:] != 0).all())
    prompts = with_form(outcomes(3, 10), 2).embedding
    assert method.estimate_error(prompts, method.represent(with_form(outcomes(2), 3))).shape == (10, 5)
