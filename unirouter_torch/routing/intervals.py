"""How sure a cluster error is."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.shapes import ClusterError

_NUM_POINTS = 2001


def cluster_error_quantile(
    sums: ClusterSums, shrinkage: float | Float[Tensor, ""], expected: ClusterError, level: float
) -> ClusterError:
    """Quantile of the belief about each cluster error: a Beta distribution whose mean is the cluster error itself.

    ``Beta(error_k + shrinkage * expected_k, weight_k - error_k + shrinkage * (1 - expected_k))``: what is expected of
    the LLM counts as ``shrinkage`` prompts seen before, and each calibration prompt counts as much as it belongs to the
    cluster. For graded errors and for soft clusters that is on the wide side, since both vary less than whole
    right-or-wrong prompts.

    Args:
        sums: Sums over the calibration prompts.
        shrinkage: Strength of the pull [prompts], positive.
        expected: What is expected of the LLM in each cluster, in (0, 1).
        level: Probability, in (0, 1), that the cluster error is below the quantile.

    Returns:
        Quantiles in [0, 1]; all of one kind rise with ``level``.

    Source: the conjugate prior of a rate; its use here is this project's.
    """
    expected = expected.double().clamp(1e-6, 1 - 1e-6)
    wrong = sums.error.clamp(min=0.0).double() + shrinkage * expected
    right = (sums.weight - sums.error).clamp(min=0.0).double() + shrinkage * (1 - expected)
    return beta_quantile(wrong, right, level).to(sums.error.dtype)


def beta_quantile(
    first: Float[Tensor, "*shape"], second: Float[Tensor, "*shape"], level: float
) -> Float[Tensor, "*shape"]:
    """Quantile of ``Beta(first, second)`` at one level in (0, 1), to about four digits.

    The density is integrated over log-odds, where it has neither poles nor steps: there its logarithm is
    ``first * log(x) + second * log(1 - x)``, concave, with its peak at ``log(first / second)``.

    Args:
        first: First parameters, positive.
        second: Second parameters, positive.
        level: Probability of a value below the quantile.
    """
    first, second = first.double().unsqueeze(-1), second.double().unsqueeze(-1)
    peak = torch.log(first / second)
    spread = (1 / first + 1 / second).sqrt()
    # Gaussian near the peak, exponential at the rates `first` and `second` far from it
    step = torch.linspace(-1.0, 1.0, _NUM_POINTS, dtype=torch.float64) ** 3
    at = peak + step * (8 * spread + 30 / torch.where(step < 0, first, second))
    log_density = -first * functional.softplus(-at) - second * functional.softplus(at)
    density = (log_density - log_density.amax(-1, keepdim=True)).exp()
    below = functional.pad(((density[..., 1:] + density[..., :-1]) / 2 * at.diff()).cumsum(-1), (1, 0))
    wanted = level * below[..., -1:]
    right = torch.searchsorted(below, wanted).clamp(1, _NUM_POINTS - 1)
    (x0, x1), (y0, y1) = ((part.gather(-1, right - 1), part.gather(-1, right)) for part in (at, below))
    return torch.sigmoid(torch.lerp(x0, x1, (wanted - y0) / (y1 - y0))).squeeze(-1)
