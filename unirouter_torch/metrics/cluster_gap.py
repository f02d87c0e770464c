"""The empirical term of Proposition 2: how far errors on new prompts of a cluster lie from cluster errors."""

import math
from typing import NamedTuple

import torch

from unirouter_torch.routing.cluster_error import cluster_error, estimate_error, sum_by_cluster
from unirouter_torch.shapes import ClusterError, ClusterProbability, ErrorMatrix, ObservedMatrix

MIN_TEST_PROMPTS = 20
NUM_DRAWS = 50


class ClusteredOutcomes(NamedTuple):
    """Outcomes of some LLMs on some prompts, and the clusters of the prompts.

    Attributes:
        probability: Assignment of each prompt to the clusters, hard or soft; rows sum to one.
        error: Observed errors in [0, 1]; ignored where not observed.
        observed: Which pairs were observed.
    """

    probability: ClusterProbability
    error: ErrorMatrix
    observed: ObservedMatrix


class GapFigures(NamedTuple):
    """Of the gaps ``|E_k(h) - Psi_k(h)|`` over pairs of an LLM and a cluster with at least 20 observed test prompts.

    Attributes:
        mean: Mean, each pair weighted by its test outcomes.
        expected_max: Maximum over the LLMs, mean over the clusters weighted by their counted test outcomes.
        max: Maximum over the pairs.
        mean_square: Mean of the squared gaps, weighted as ``mean``.
    """

    mean: float
    expected_max: float
    max: float
    mean_square: float


class ClusterGap(NamedTuple):
    """The measured gaps beside those that exact cluster errors would show.

    Attributes:
        measured: Gaps between test errors and cluster errors.
        floor: Gaps between test errors and their expectation: what binomial sampling of the test outcomes makes alone.
        covered: Share of the test outcomes that lie in a counted pair, in (0, 1].
    """

    measured: GapFigures
    floor: GapFigures
    covered: float

    @property
    def beyond_floor(self) -> float:
        """Root mean square of the gaps without the share of test sampling: ``sqrt(max(0, measured^2 - floor^2))``."""
        return math.sqrt(max(0.0, self.measured.mean_square - self.floor.mean_square))

    def figures(self) -> dict[str, float]:
        """Everything by name."""
        return {
            "mean_gap": self.measured.mean,
            "mean_gap_floor": self.floor.mean,
            "expected_max_gap": self.measured.expected_max,
            "expected_max_gap_floor": self.floor.expected_max,
            "max_gap": self.measured.max,
            "max_gap_floor": self.floor.max,
            "gap_beyond_floor": self.beyond_floor,
            "covered": self.covered,
        }


def measure_cluster_gap(
    calibration: ClusteredOutcomes, test: ClusteredOutcomes, *, shrinkage: float, seed: int
) -> ClusterGap | None:
    """Compare cluster errors from calibration prompts with the errors on the test prompts of the same clusters.

    ``E_k(h) = sum_x p_k(x) e(x, h) / sum_x p_k(x)`` over observed test prompts ``x``; ``Psi_k(h)`` is
    :func:`~unirouter_torch.routing.cluster_error.cluster_error` of the calibration prompts. The floor is simulated:
    test outcomes are drawn 50 times from Bernoulli distributions with the means ``p(x) . Psi(h)``, ``Psi`` from
    calibration and test prompts together, and compared with these means, cluster by cluster. Graded outcomes vary less
    than Bernoulli ones, so for them the floor is too high.

    Args:
        calibration: Unseen LLMs on calibration prompts.
        test: The same LLMs on test prompts.
        shrinkage: Shrinkage of the cluster errors [prompts], at least 0.
        seed: Seed of the simulation.

    Returns:
        The gaps; None where no LLM has 20 observed test prompts in a cluster.

    Source: Proposition 2 of UniRoute (arXiv:2502.08773), whose term is the expectation over prompts of the maximum over
    LLMs of the distance between the error probability in the prompt's cluster and ``Psi``; how to measure it is not
    said there, and is this project's.
    """
    weight = sum_by_cluster(*test).weight
    is_counted = weight >= MIN_TEST_PROMPTS
    if not is_counted.any():
        return None
    mass = weight.double() * is_counted
    psi = cluster_error(sum_by_cluster(*calibration), shrinkage)
    together = ClusteredOutcomes(*(torch.cat(parts) for parts in zip(calibration, test, strict=True)))
    expected = estimate_error(test.probability, cluster_error(sum_by_cluster(*together), shrinkage))
    exact = _mean_error(test._replace(error=expected))
    generator = torch.Generator().manual_seed(seed)
    draws = torch.tensor(
        [
            _figures(_mean_error(test._replace(error=torch.bernoulli(expected, generator=generator))), exact, mass)
            for _ in range(NUM_DRAWS)
        ],
        dtype=torch.float64,
    )
    return ClusterGap(
        measured=_figures(_mean_error(test), psi, mass),
        floor=GapFigures(*draws.mean(0).tolist()),
        covered=float(mass.sum() / weight.sum()),
    )


def _mean_error(outcomes: ClusteredOutcomes) -> ClusterError:
    return cluster_error(sum_by_cluster(*outcomes), 0.0)


def _figures(error: ClusterError, psi: ClusterError, mass: ClusterError) -> GapFigures:
    """Gaps of the pairs with a positive mass."""
    gap = (error - psi).abs().double() * (mass > 0)
    of_cluster = mass.sum(0)
    return GapFigures(
        mean=float((mass * gap).sum() / mass.sum()),
        expected_max=float((of_cluster * gap.amax(0)).sum() / of_cluster.sum()),
        max=float(gap.max()),
        mean_square=float((mass * gap.square()).sum() / mass.sum()),
    )
