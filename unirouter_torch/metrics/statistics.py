"""How sure a comparison over trials is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE_LEVEL = 0.95
SIGNIFICANCE_LEVEL = 0.01
"""Below it a p-value is called significant, as in UniRoute's protocol (arXiv:2502.08773)."""

NUM_RESAMPLES = 9_999
NUM_BAND_RESAMPLES = 2_000
RESAMPLES_AT_ONCE = 100
"""Resamples of a band that are in memory together; their number is a multiple of it."""


class Interval(NamedTuple):
    """A mean with the ends of its 95% confidence interval."""

    mean: float
    low: float
    high: float


def bootstrap_mean(values: Sequence[float]) -> Interval:
    """Mean over trials with a 95% percentile bootstrap interval (9,999 resamples, fixed seed).

    Args:
        values: One value for each trial, at least one; a single value is its own interval.
    """
    sample = np.asarray(values, dtype=np.float64)
    mean = float(sample.mean())
    if len(sample) == 1 or np.ptp(sample) == 0:
        return Interval(mean, mean, mean)
    result = stats.bootstrap(
        (sample,),
        np.mean,
        n_resamples=NUM_RESAMPLES,
        confidence_level=CONFIDENCE_LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return Interval(mean, float(result.confidence_interval.low), float(result.confidence_interval.high))


class Band(NamedTuple):
    """Ends of the 95% confidence interval of each of several means."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]


def bootstrap_band(values: NDArray[np.float64]) -> Band:
    """95% percentile bootstrap intervals of means over trials or prompts, all from the same 2,000 resamples of them.

    Args:
        values: One row for each trial or prompt, at least one; one column for each mean.
    """
    rng, share = np.random.default_rng(0), np.full(len(values), 1 / len(values))
    at_once = range(0, NUM_BAND_RESAMPLES, RESAMPLES_AT_ONCE)
    sums = [rng.multinomial(len(values), share, size=RESAMPLES_AT_ONCE) @ values for _ in at_once]
    means = np.concatenate(sums) / len(values)
    tail = (1 - CONFIDENCE_LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    return Band(low, high)


def sign_test(differences: Sequence[float]) -> float:
    """Two-sided p-value of the sign test that differences are as often positive as negative; zeros are left out.

    Source: the paired test of UniRoute's protocol (arXiv:2502.08773), used there at 0.01.
    """
    wins = sum(difference > 0 for difference in differences)
    losses = sum(difference < 0 for difference in differences)
    if wins + losses == 0:
        return 1.0
    return float(stats.binomtest(wins, wins + losses).pvalue)
