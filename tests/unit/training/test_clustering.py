import pytest
import torch
from made_outcomes import outcomes, trial_of, tuning
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from unirouter_torch.methods.method import cluster_counts
from unirouter_torch.training.clustering import assign_to_nearest, centroids_of, sum_by_nearest


def blobs(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around four corners that lie far apart, and the corner of each."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 4, (200,), generator=generator)
    corners = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    return corners[corner] + 0.5 * torch.randn(200, 2, generator=generator), corner


def lloyd(points: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """One step of K-means, as a loop."""
    moved = centroids.clone()
    nearest = [min(range(len(centroids)), key=lambda k: float((p - centroids[k]).square().sum())) for p in points]
    for cluster in range(len(centroids)):
        members = [number for number, found in enumerate(nearest) if found == cluster]
        if members:
            moved[cluster] = points[members].mean(0)
    return moved


def test_centroids_of_separated_blobs_are_their_means() -> None:
    for seed in range(3):
        points, corner = blobs(seed)
        found = sorted(centroids_of(points, seed)(4).tolist(), key=lambda c: (round(c[1]), round(c[0])))
        expected = torch.stack([points[corner == number].mean(0) for number in range(4)])
        torch.testing.assert_close(torch.tensor(found), expected, rtol=0, atol=1e-4)


def test_a_step_of_lloyd_leaves_the_centroids_where_they_are() -> None:
    points = outcomes(0, 120).embedding
    found = centroids_of(points, seed=0)(6)
    torch.testing.assert_close(lloyd(points, found), found, rtol=0, atol=1e-4)


def test_same_seed_gives_the_same_centroids() -> None:
    points = outcomes(0, 120).embedding
    assert torch.equal(centroids_of(points, seed=3)(6), centroids_of(points, seed=3)(6))


def test_centroids_do_not_depend_on_what_was_asked_before() -> None:
    points = outcomes(0, 120).embedding
    asked_before = centroids_of(points, seed=3)
    assert asked_before(40) is asked_before(40)
    assert torch.equal(asked_before(6), centroids_of(points, seed=3)(6))
    assert not torch.equal(asked_before(6), centroids_of(points, seed=4)(6))


@pytest.mark.parametrize("num_clusters", [2, 5, 15, 40])
def test_prompts_lie_as_close_to_their_centroids_as_with_starts_of_scikit_learn(num_clusters: int) -> None:
    points = outcomes(0, 300).embedding

    def spread(centroids: torch.Tensor) -> float:
        return float(torch.cdist(points, centroids).min(-1).values.square().sum())

    found = [spread(centroids_of(points, seed)(num_clusters)) for seed in range(10)]
    reference = [KMeans(num_clusters, n_init=1, random_state=seed).fit(points.numpy()).inertia_ for seed in range(10)]
    assert sum(found) < 1.02 * sum(reference)


def test_equal_prompts_far_from_the_origin_can_be_clustered() -> None:
    points = torch.tensor([[1000.0, 2000.0], [1001.0, 2000.0]]).repeat(5, 1)
    found = centroids_of(points, seed=0)
    assert sorted(found(2).tolist()) == points[:2].tolist()
    with pytest.warns(ConvergenceWarning, match="distinct clusters"):
        assert sorted(found(4).unique(dim=0).tolist()) == points[:2].tolist()


def test_prompt_belongs_to_the_centroid_of_least_distance() -> None:
    points, centroids = outcomes(0).embedding, outcomes(1).embedding[:7]
    found = assign_to_nearest(points, centroids).argmax(-1).tolist()
    assert found == [min(range(7), key=lambda k: float((p - centroids[k]).square().sum())) for p in points]


def test_sums_are_those_of_a_loop_over_observed_calibration_prompts() -> None:
    calibration, centroids = outcomes(2, density=0.6), outcomes(1).embedding[:7]
    nearest = assign_to_nearest(calibration.embedding, centroids).argmax(-1)
    sums = sum_by_nearest(calibration, centroids)
    error, weight = torch.zeros(5, 7), torch.zeros(5, 7)
    for prompt in range(60):
        for llm in range(5):
            if calibration.observed[prompt, llm]:
                error[llm, nearest[prompt]] += calibration.error[prompt, llm]
                weight[llm, nearest[prompt]] += 1
    torch.testing.assert_close(sums.error, error)
    torch.testing.assert_close(sums.weight, weight)


def test_numbers_of_clusters_leave_a_prompt_to_each() -> None:
    assert cluster_counts((5, 10, 30, 31, 60), trial_of(outcomes(0), tuning(num_calibration=30))) == [5, 10, 30]
    assert cluster_counts((5, 10, 90), trial_of(outcomes(0, 60), tuning(num_calibration=400))) == [5, 10]
    assert cluster_counts((5, 10), trial_of(outcomes(0), tuning(num_calibration=3))) == [1]
