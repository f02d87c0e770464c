"""How sure a cluster error is."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.shapes import ClusterError

_NUM_POINTS = 2001


def cluster_error_quantiles(
    sums: ClusterSums, shrinkage: float | Float[Tensor, ""], expected: ClusterError, levels: Sequence[float]
) -> list[ClusterError]:
    """Quantiles of the belief about each cluster error: a Beta distribution whose mean is the cluster error itself.

    ``Beta(error_k + shrinkage * expected_k, weight_k - error_k + shrinkage * (1 - expected_k))``: what is expected of
    the LLM counts as ``shrinkage`` prompts seen before, and each calibration prompt counts as much as it belongs to the
    cluster. For graded errors and for soft clusters that is on the wide side, since both vary less than whole
    right-or-wrong prompts.

    Args:
        sums: Sums over the calibration prompts.
        shrinkage: Strength of the pull [prompts], positive.
        expected: What is expected of the LLM in each cluster, in (0, 1).
        levels: Probabilities, in (0, 1), that the cluster error is below the quantile.

    Returns:
        Quantiles in [0, 1] for each level; all of one kind rise with it.

    Source: the conjugate prior of a rate; its use here is this project's.
    """
    expected = expected.double().clamp(1e-6, 1 - 1e-6)
    wrong = sums.error.clamp(min=0.0).double() + shrinkage * expected
    right = (sums.weight - sums.error).clamp(min=0.0).double() + shrinkage * (1 - expected)
    return [one.to(sums.error.dtype) for one in beta_quantiles(wrong, right, levels)]


def beta_quantiles(
    first: Float[Tensor, "*shape"], second: Float[Tensor, "*shape"], levels: Sequence[float]
) -> list[Float[Tensor, "*shape"]]:
    """Quantiles of ``Beta(first, second)`` at levels in (0, 1), to about four digits, by one integration.

    The density is integrated over log-odds, where it has neither poles nor steps: there its logarithm is
    ``first * log(x) + second * log(1 - x)``, concave, with its peak at ``log(first / second)``.

    Args:
        first: First parameters, positive.
        second: Second parameters, positive.
        levels: Probabilities of a value below the quantile.
    """
    first, second = first.double().unsqueeze(-1), second.double().unsqueeze(-1)
    peak = torch.log(first / second)
    spread = (1 / first + 1 / second).sqrt()
    # Gaussian near the peak, exponential at the rates `first` and `second` far from it
    step = torch.linspace(-1.0, 1.0, _NUM_POINTS, dtype=torch.float64) ** 3
    at = peak + step * (8 * spread + 30 / torch.where(step < 0, first, second))
    log_density = first * at - (first + second) * functional.softplus(at)
    density = (log_density - log_density.amax(-1, keepdim=True)).exp()
    below = functional.pad(((density[..., 1:] + density[..., :-1]) / 2 * at.diff()).cumsum(-1), (1, 0))
    return [_value_at(level * below[..., -1:], at, below) for level in levels]


def _value_at(
    wanted: Float[Tensor, "*shape 1"], at: Float[Tensor, "*shape point"], below: Float[Tensor, "*shape point"]
) -> Float[Tensor, "*shape"]:
    """The value below which there is as much as wanted, between two points."""
    right = torch.searchsorted(below, wanted).clamp(1, _NUM_POINTS - 1)
    (x0, x1), (y0, y1) = ((part.gather(-1, right - 1), part.gather(-1, right)) for part in (at, below))
    return torch.sigmoid(torch.lerp(x0, x1, (wanted - y0) / (y1 - y0))).squeeze(-1)
