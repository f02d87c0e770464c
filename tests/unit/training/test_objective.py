import math

import pytest
import torch

from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.objective import EpisodeOutcomes, cross_entropy, estimate_targets


def test_cross_entropy_equals_the_formula_over_observed_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    estimate = torch.rand(6, 4, generator=generator)
    error = torch.rand(6, 4, generator=generator)
    observed = torch.rand(6, 4, generator=generator) < 0.6
    terms = [
        -(error[i, j] * math.log(estimate[i, j]) + (1 - error[i, j]) * math.log(1 - estimate[i, j]))
        for i in range(6)
        for j in range(4)
        if observed[i, j]
    ]
    assert cross_entropy(estimate, error, observed).item() == pytest.approx(float(sum(terms)) / len(terms), rel=1e-5)


def test_cross_entropy_is_least_at_the_truth_for_graded_errors() -> None:
    error = torch.tensor([[0.3]])
    observed = torch.ones(1, 1, dtype=torch.bool)
    losses = {guess: cross_entropy(torch.tensor([[guess]]), error, observed).item() for guess in (0.2, 0.3, 0.4)}
    assert min(losses, key=losses.__getitem__) == 0.3


def test_certain_mistake_costs_a_finite_loss() -> None:
    loss = cross_entropy(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx(-math.log(1e-4), rel=1e-4)


def test_nothing_observed_gives_zero_loss() -> None:
    assert cross_entropy(torch.rand(2, 2), torch.rand(2, 2), torch.zeros(2, 2, dtype=torch.bool)).item() == 0


def test_estimates_use_calibration_outcomes_alone_and_one_assignment_on_both_sides() -> None:
    generator = torch.Generator().manual_seed(1)
    head = ClusterHead(3, 2)

    def outcomes(num_prompts: int) -> Outcomes:
        return Outcomes(
            torch.randn(num_prompts, 3, generator=generator),
            torch.rand(num_prompts, 4, generator=generator),
            torch.ones(num_prompts, 4, dtype=torch.bool),
        )

    calibration, target = outcomes(10), outcomes(5)
    found = estimate_targets(head, EpisodeOutcomes(calibration, target))
    p, kappa = head(calibration.embedding), head.shrinkage
    overall = (calibration.error.sum(0) + 0.5) / (len(calibration.error) + 1)  # expected where all is equally hard
    psi = (calibration.error.T @ p + kappa * overall[:, None]) / (p.sum(0) + kappa)
    torch.testing.assert_close(found, head(target.embedding) @ psi.T)
    blind = Outcomes(target.embedding, torch.zeros_like(target.error), torch.zeros_like(target.observed))
    assert torch.equal(found, estimate_targets(head, EpisodeOutcomes(calibration, blind)))
