"""Matrix factorisation in its two forms: linear in the embedding, of low rank, and able to find a planted rank."""

import pytest
import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.methods.matrix_factorization import (
    GRID,
    ClairvoyantMatrixFactorization,
    MatrixFactorization,
)
from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.zero import ZeroRouter
from unirouter_torch.routing.outcomes import Outcomes

ORDER = torch.tensor([3, 1, 4, 0, 2])


def planted(seed: int, num_prompts: int, num_llms: int = 12) -> tuple[Outcomes, torch.Tensor]:
    """Outcomes whose logits have rank two besides each LLM's offset, and their probabilities."""
    draw = torch.Generator().manual_seed(99)
    directions, vectors = torch.randn(8, 2, generator=draw), torch.randn(2, num_llms, generator=draw)
    offsets = torch.randn(num_llms, generator=draw)
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(num_prompts, 8, generator=generator)
    probability = torch.sigmoid(embedding @ directions @ vectors + offsets)
    error = torch.bernoulli(probability, generator=generator)
    return Outcomes(embedding, error, torch.ones_like(error, dtype=torch.bool)), probability


def squared_error(method: RoutingMethod, num_calibration: int) -> float:
    train, calibration, (test, probability) = planted(0, 600)[0], planted(2, num_calibration)[0], planted(3, 300)
    how = tuning(num_calibration)._replace(validation=planted(1, 300)[0])
    method.fit(trial_of(train, how, clairvoyant=planted(4, 600)[0]))
    estimate = method.estimate_error(test.embedding, method.represent(calibration))
    return float((estimate - probability).square().mean())


def test_planted_rank_is_recovered() -> None:
    assert squared_error(ZeroRouter(), 300) > 0.08
    assert squared_error(MatrixFactorization(), 300) < 0.01


def test_clairvoyant_is_nearer_to_the_truth_than_few_calibration_prompts_bring_one() -> None:
    clairvoyant = squared_error(ClairvoyantMatrixFactorization(), 40)
    assert clairvoyant < 0.01
    assert clairvoyant < 0.5 * squared_error(MatrixFactorization(), 40)


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_estimates_lie_in_the_unit_interval_and_follow_the_order_of_llms(density: float) -> None:
    method = MatrixFactorization()
    method.fit(trial_of(outcomes(0, density=density), tuning()))
    calibration, prompts = outcomes(2, density=density), outcomes(3).embedding
    estimate = method.estimate_error(prompts, method.represent(calibration))
    assert ((estimate >= 0) & (estimate <= 1)).all()
    permuted = method.estimate_error(prompts, method.represent(calibration.of_llms(ORDER)))
    torch.testing.assert_close(permuted, estimate[:, ORDER], atol=1e-4, rtol=1e-4)


def test_logits_are_linear_in_the_embedding_and_of_the_chosen_rank() -> None:
    method = MatrixFactorization()
    method.fit(trial_of(outcomes(0), tuning()))
    features = method.represent(outcomes(2, num_llms=40))
    prompts = outcomes(3).embedding

    def logit(embedding: torch.Tensor) -> torch.Tensor:
        return torch.logit(method.estimate_error(embedding, features).double())

    middle = logit((prompts + prompts.flip(0)) / 2)
    torch.testing.assert_close(middle, (logit(prompts) + logit(prompts).flip(0)) / 2, atol=1e-4, rtol=1e-4)
    centred = logit(prompts) - logit(prompts).mean(0)
    assert torch.linalg.matrix_rank(centred, atol=1e-3) <= method.describe()["num_hidden"]


def test_llm_without_outcomes_is_estimated_at_one_half() -> None:
    method = MatrixFactorization()
    method.fit(trial_of(outcomes(0), tuning()))
    calibration = outcomes(2)
    calibration.observed[:, 1] = False
    estimate = method.estimate_error(outcomes(3).embedding, method.represent(calibration))
    assert (estimate[:, 1] == 0.5).all()
    assert (estimate[:, 0] != 0.5).all()


def test_clairvoyant_ignores_the_calibration_outcomes() -> None:
    method = ClairvoyantMatrixFactorization()
    method.fit(trial_of(outcomes(0), tuning()))
    prompts, calibration = outcomes(3).embedding, outcomes(2)
    inverted = calibration._replace(error=1 - calibration.error)
    estimate = method.estimate_error(prompts, method.represent(calibration))
    assert torch.equal(estimate, method.estimate_error(prompts, method.represent(inverted)))


def test_what_was_chosen_comes_from_the_grid() -> None:
    method = MatrixFactorization()
    method.fit(trial_of(outcomes(0), tuning()))
    assert method.describe() in [candidate._asdict() for candidate in GRID.candidates()]
