import math

import numpy as np
import pytest

from unirouter_torch.metrics.statistics import bootstrap_band, bootstrap_mean, sign_test


def test_sign_test_equals_the_binomial_tail_on_both_sides() -> None:
    differences = [1.0] * 9 + [-1.0]
    expected = 2 * sum(math.comb(10, k) for k in (9, 10)) / 2**10
    assert sign_test(differences) == pytest.approx(expected)
    assert sign_test([-d for d in differences]) == pytest.approx(expected)


def test_sign_test_leaves_zeros_out() -> None:
    assert sign_test([1.0, 0.0, 1.0, 0.0, 1.0]) == sign_test([1.0, 1.0, 1.0]) == pytest.approx(0.25)
    assert sign_test([0.0, 0.0]) == 1.0


def test_interval_holds_the_mean_and_covers_like_the_normal_one() -> None:
    values = [math.sin(7 * i) for i in range(200)]
    mean, low, high = bootstrap_mean(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 200)
    assert low < mean < high
    assert (high - low) / 2 == pytest.approx(1.96 * deviation / math.sqrt(200), rel=0.05)


def test_interval_is_the_same_each_time_and_shrinks_to_a_single_value() -> None:
    assert bootstrap_mean([1.0, 2.0, 4.0]) == bootstrap_mean([1.0, 2.0, 4.0])
    assert bootstrap_mean([3.0]) == (3.0, 3.0, 3.0)


def test_band_has_the_interval_of_each_mean_and_none_where_values_are_equal() -> None:
    values = np.array([[math.sin(7 * i), 0.25, -math.sin(7 * i)] for i in range(200)])
    low, high = bootstrap_band(values)
    _, its_low, its_high = bootstrap_mean(values[:, 0].tolist())
    assert (low[0], high[0]) == pytest.approx((its_low, its_high), abs=0.01)
    assert (low[1], high[1]) == (0.25, 0.25)
    assert (low[2], high[2]) == pytest.approx((-high[0], -low[0]))
