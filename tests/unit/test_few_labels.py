"""The priors of ``scripts/few_labels.py``, which are not in the package."""

from types import ModuleType

import pytest
import torch
from script_module import script_module

from unirouter_torch.routing.cluster_error import ClusterSums, expected_cluster_error
from unirouter_torch.routing.head import ClusterHead


@pytest.fixture(scope="module")
def few_labels() -> ModuleType:
    return script_module("few_labels")


@pytest.fixture
def head() -> ClusterHead:
    head = ClusterHead(2, 3)
    head.difficulty.data = torch.tensor([-0.5, 0.0, 0.5])
    return head.requires_grad_(False)


WEIGHT = torch.tensor([[8.0, 3.0, 5.0], [40.0, 0.0, 0.0]])
SUMS = ClusterSums(error=WEIGHT * torch.tensor([[0.2, 0.7, 0.6], [0.9, 0.0, 0.0]]), weight=WEIGHT)


def test_without_covariance_clusters_are_shrunk_by_four_times_the_learned_shrinkage(
    few_labels: ModuleType, head: ClusterHead
) -> None:
    expected = expected_cluster_error(SUMS, head.difficulty)
    strength = head.shrinkage / few_labels.SHARE_ALONE
    shrunk = (SUMS.error + strength * expected) / (SUMS.weight + strength)
    torch.testing.assert_close(few_labels.posterior_mean(head, SUMS, torch.zeros(3, 3)), shrunk)


def test_clusters_that_go_together_learn_from_each_other(few_labels: ModuleType, head: ClusterHead) -> None:
    together = 0.05 * torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = few_labels.posterior_mean(head, SUMS, together)[1]
    expected = expected_cluster_error(SUMS, head.difficulty)[1]
    ahead = found - expected  # outcomes in the first cluster alone
    assert ahead[1] == pytest.approx(
        0.9 * 0.05 / (0.05 + float(expected[0] * (1 - expected[0])) / 4) * float(ahead[0]), rel=1e-4
    )
    assert ahead[2] == pytest.approx(0.0, abs=1e-6)


def test_set_encoder_begins_with_the_shrunk_cluster_errors(few_labels: ModuleType, head: ClusterHead) -> None:
    torch.testing.assert_close(few_labels.SetEncoder(head)(SUMS), head.cluster_error(SUMS))
