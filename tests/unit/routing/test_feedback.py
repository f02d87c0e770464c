import math

import pytest
import torch
from torch import Tensor

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.cluster_error import ClusterSums, sum_by_cluster
from unirouter_torch.routing.feedback import add_outcomes


def outcomes(num_prompts: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(num_prompts, 4, generator=generator).softmax(-1), torch.rand(num_prompts, generator=generator)


def sums_of(probability: Tensor, error: Tensor) -> ClusterSums:
    return sum_by_cluster(probability, error[:, None], torch.ones(len(error), 1, dtype=torch.bool))


def assert_equal(one: ClusterSums, two: ClusterSums) -> None:
    assert torch.allclose(one.error, two.error, atol=1e-5)
    assert torch.allclose(one.weight, two.weight, atol=1e-5)


def test_without_forgetting_it_is_the_sum_over_all_in_any_order() -> None:
    probability, error = outcomes(30, 0)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1)) + 10
    start = sums_of(probability[:10], error[:10])
    found = add_outcomes(start, probability[order], error[order])
    assert_equal(found, sums_of(probability, error))


@pytest.mark.parametrize("half_life", [math.inf, 50.0, 3.0])
def test_many_at_once_are_one_after_the_other(half_life: float) -> None:
    probability, error = outcomes(12, 2)
    start = sums_of(*outcomes(40, 3))
    one_by_one = start
    for row in range(12):
        one_by_one = add_outcomes(one_by_one, probability[[row]], error[[row]], half_life)
    assert_equal(add_outcomes(start, probability, error, half_life), one_by_one)


def test_an_outcome_counts_half_after_its_half_life() -> None:
    probability, error = torch.ones(1, 1), torch.ones(1)
    empty = ClusterSums(torch.zeros(1, 1), torch.zeros(1, 1))
    found = add_outcomes(add_outcomes(empty, probability, error, 7.0), torch.ones(7, 1), torch.zeros(7), 7.0)
    assert float(found.error) == pytest.approx(0.5)


def test_weights_never_exceed_what_the_half_life_remembers() -> None:
    start = sums_of(*outcomes(400, 4))
    found = add_outcomes(start, *outcomes(5000, 5), 100.0)
    assert float(found.weight.sum()) == pytest.approx(1 / (1 - 2 ** (-1 / 100)), rel=1e-3)
    assert ((found.error >= 0) & (found.error <= found.weight)).all()


@pytest.mark.parametrize("half_life", [0.0, -1.0, math.nan])
def test_impossible_half_lives_are_refused(half_life: float) -> None:
    with pytest.raises(PoolError, match="half_life"):
        add_outcomes(sums_of(*outcomes(3, 0)), *outcomes(3, 1), half_life)
