import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from unirouter_torch.routing.cluster_error import ClusterSums, cluster_error
from unirouter_torch.routing.intervals import beta_quantiles, cluster_error_quantiles

parameter = st.floats(0.02, 5000.0)


@given(parameter, parameter)
def test_beta_quantiles_are_those_of_scipy(first: float, second: float) -> None:
    levels = [0.025, 0.05, 0.5, 0.95, 0.975]
    found = beta_quantiles(torch.tensor([first]), torch.tensor([second]), levels)
    assert [one.item() for one in found] == pytest.approx(stats.beta.ppf(levels, first, second), abs=2e-4)


def sums_of(error: float, weight: float) -> ClusterSums:
    return ClusterSums(torch.tensor([[error]]), torch.tensor([[weight]]))


def test_interval_is_around_the_cluster_error_and_narrows_with_outcomes() -> None:
    expected = torch.tensor([[0.3]])
    widths = []
    for weight in (1.0, 10.0, 1000.0):
        sums = sums_of(0.4 * weight, weight)
        low, high = (one.item() for one in cluster_error_quantiles(sums, 5.0, expected, (0.05, 0.95)))
        assert low < cluster_error(sums, 5.0, expected).item() < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True) and widths[-1] < 0.06


def test_expected_error_counts_as_prompts_seen_before() -> None:
    (quantile,) = cluster_error_quantiles(sums_of(2.0, 8.0), 4.0, torch.tensor([[0.25]]), [0.9])
    assert quantile.item() == pytest.approx(stats.beta.ppf(0.9, 2 + 1, 6 + 3), abs=1e-4)


def test_certain_expectation_has_an_interval_all_the_same() -> None:
    for expected in (0.0, 1.0):
        (quantile,) = cluster_error_quantiles(sums_of(0.0, 0.0), 1.0, torch.tensor([[expected]]), [0.5])
        assert quantile.item() == pytest.approx(expected, abs=1e-4)
