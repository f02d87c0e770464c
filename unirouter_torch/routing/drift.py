"""Whether an LLM still errs as it is estimated to: a test that may be looked at after every prompt."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.routing.cluster_error import ClusterSums

TOLERANCE = 0.05
"""How far the mean error may lie from the estimates without being drift."""

FALSE_ALARM_RATE = 0.01
"""Probability that an LLM without drift ever raises the alarm."""

BETS = (0.1, 0.3, 0.6, 0.9)
"""Shares of the largest bet that cannot lose everything."""

_MOST_WEALTH = 1e100


@dataclass(frozen=True, kw_only=True, eq=False)
class DriftTest:
    """A test by betting of whether the error of one LLM stays within a tolerance of its estimates.

    As long as the expected difference of error and estimated error, given everything before, is at most
    :data:`TOLERANCE` to either side, the evidence exceeds ``1 / rate`` at any time, however long one looks, with
    probability ``rate`` at most (Ville's inequality). New bets start at every prompt, so that a change is found after
    any time without one.

    Attributes:
        reference: Sums of the LLM before the first outcome, one row: what the estimates are made from.
        wealth: What the bets that started so far have come to, for each direction (worse, better) and size of bet.
        num_prompts: How many outcomes were seen.
        most_evidence: The most evidence of drift so far [1]: an e-value, 1 before the first outcome.

    Source: testing by betting (arXiv:2010.09686) and e-detectors (arXiv:2203.03532), here with starts
    weighted ``1 / (t (t + 1))`` so that the probability of any false alarm is bounded; the tolerance is this project's.
    """

    reference: ClusterSums
    wealth: Float[Tensor, "direction bet"]
    num_prompts: int
    most_evidence: float

    @classmethod
    def new(cls, reference: ClusterSums) -> "DriftTest":
        """The test before the first outcome of an LLM with these sums."""
        wealth = torch.zeros(2, len(BETS), dtype=torch.float64)
        return cls(reference=reference, wealth=wealth, num_prompts=0, most_evidence=1.0)

    def after(self, error: Float[Tensor, " prompt"], estimated_error: Float[Tensor, " prompt"]) -> "DriftTest":
        """The test after further outcomes, in their order.

        Args:
            error: Observed, in [0, 1].
            estimated_error: Estimated from the reference, in [0, 1].
        """
        residual = (error.double() - estimated_error.double())[:, None]
        size = torch.tensor(BETS, dtype=torch.float64) / (1 + TOLERANCE)
        factors = torch.cat([1 + size * (residual - TOLERANCE), 1 + size * (-residual - TOLERANCE)], dim=1)
        wealth, time, most = self.wealth.flatten().tolist(), self.num_prompts, self.most_evidence
        for row in factors.tolist():
            time += 1
            start = 1 / (time * (time + 1))
            wealth = [min((held + start) * factor, _MOST_WEALTH) for held, factor in zip(wealth, row, strict=True)]
            most = max(most, sum(wealth) / len(wealth) + 1 / (time + 1))
        held = torch.tensor(wealth, dtype=torch.float64).view_as(self.wealth)
        return replace(self, wealth=held, num_prompts=time, most_evidence=most)

    @property
    def has_drifted(self) -> bool:
        """Whether the evidence ever exceeded ``1 / FALSE_ALARM_RATE``."""
        return self.most_evidence >= 1 / FALSE_ALARM_RATE

    @property
    def is_worse(self) -> bool:
        """Whether the evidence is rather for more errors than for fewer."""
        worse, better = self.wealth.sum(1).tolist()
        return bool(worse >= better)
