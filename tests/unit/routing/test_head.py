import pytest
import torch

from unirouter_torch.routing.cluster_error import expected_cluster_error, sum_by_cluster
from unirouter_torch.routing.head import ClusterHead


def points(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cluster_probabilities_sum_to_one() -> None:
    probability = ClusterHead(5, 7)(points(0, 20, 5))
    assert probability.shape == (20, 7)
    torch.testing.assert_close(probability.sum(-1), torch.ones(20))
    assert (probability >= 0).all()


def test_warm_start_is_a_softmax_over_squared_distances() -> None:
    centroids, prompts = points(1, 4, 5), points(2, 10, 5)
    head = ClusterHead.from_centroids(centroids, sharpness=3.0, shrinkage=2.5)
    expected = (-1.5 * torch.cdist(prompts, centroids).square()).softmax(-1)
    torch.testing.assert_close(head(prompts), expected)
    torch.testing.assert_close(head.shrinkage, torch.tensor(2.5))


def test_sharper_warm_start_approaches_the_nearest_centroid() -> None:
    centroids, prompts = points(1, 4, 5), points(2, 10, 5)
    head = ClusterHead.from_centroids(centroids, sharpness=1e4, shrinkage=1.0)
    assert torch.equal(head(prompts).argmax(-1), torch.cdist(prompts, centroids).argmin(-1))
    assert head(prompts).max(-1).values.min() > 0.99


def split_head() -> tuple[ClusterHead, torch.Tensor]:
    """A head with far clusters, and the prompts that it took for familiar."""
    centroids = 3 * torch.nn.functional.normalize(points(1, 4, 6), dim=-1)
    familiar = torch.repeat_interleave(centroids, 250, 0) + 0.2 * points(2, 1000, 6)
    head = ClusterHead.from_centroids(centroids, sharpness=2.0, shrinkage=5.0)
    with torch.no_grad():
        head.difficulty.copy_(torch.tensor([1.0, -1.0, 0.5, 0.0]))
    head.split_far(familiar)
    return head, familiar


def test_far_clusters_take_the_prompts_unlike_those_of_training() -> None:
    head, familiar = split_head()
    assert head.num_clusters == 8
    near = head(familiar)[:, :4].sum(-1)
    assert (near < 0.5).float().mean() == pytest.approx(0.01, abs=0.002)
    assert near.median() > 0.9
    assert head(-familiar)[:, 4:].sum(-1).min() > 0.99


def test_near_and_far_cluster_share_the_probability_of_one() -> None:
    head, familiar = split_head()
    halves = head(torch.cat([familiar, points(3, 20, 6)]))
    head.far = None
    torch.testing.assert_close(halves[:, :4] + halves[:, 4:], head(torch.cat([familiar, points(3, 20, 6)])))


def test_known_prompts_say_little_of_far_clusters() -> None:
    head, familiar = split_head()
    error = torch.zeros(200, 1)
    error[:50] = 1.0  # against all expectation in the first cluster
    sums = sum_by_cluster(head(familiar[::5]), error, torch.ones(200, 1, dtype=torch.bool))
    distance = (head.cluster_error(sums) - expected_cluster_error(sums, head.difficulty.repeat(2))).abs()
    assert distance[0, 4] < 0.4 * distance[0, 0]


def test_far_clusters_learn_from_prompts_that_are_far() -> None:
    head, familiar = split_head()
    error = torch.tensor([0.0, 1.0]).repeat(1000, 1)
    sums = sum_by_cluster(head(-familiar), error, torch.ones(1000, 2, dtype=torch.bool))
    overall = (head(-familiar).mean(0) * head.cluster_error(sums)).sum(-1)
    torch.testing.assert_close(overall, torch.tensor([0.0, 1.0]), atol=0.05, rtol=0)


def test_equal_training_prompts_leave_the_far_clusters_to_others() -> None:
    head, _ = split_head()
    same = points(5, 1, 6).repeat(10, 1)
    head.split_far(same)
    assert torch.isfinite(head(points(6, 20, 6))).all()
