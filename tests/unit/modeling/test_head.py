import torch

from unirouter_torch.modeling.head import ClusterHead


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
