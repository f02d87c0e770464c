"""The perceptron in its two forms: what each may see, and what only a hidden layer can learn."""

import pytest
import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.methods.fitting import RetrainedNetwork, train_networks
from unirouter_torch.methods.matrix_factorization import MatrixFactorization
from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.mlp import GRID, MLP, ClairvoyantMLP
from unirouter_torch.methods.zero import ZeroRouter
from unirouter_torch.routing.outcomes import Outcomes

ORDER = torch.tensor([3, 1, 4, 0, 2])


def squared_error(method: RoutingMethod, train: Outcomes, calibration: Outcomes, test: Outcomes) -> float:
    method.fit(trial_of(train, tuning()))
    estimate = method.estimate_error(test.embedding, method.represent(calibration))
    return float((estimate - test.error).square().mean())


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_estimates_lie_in_the_unit_interval_and_follow_the_order_of_llms(density: float) -> None:
    method = MLP()
    method.fit(trial_of(outcomes(0, density=density), tuning()))
    calibration, prompts = outcomes(2, density=density), outcomes(3).embedding
    estimate = method.estimate_error(prompts, method.represent(calibration))
    assert ((estimate >= 0) & (estimate <= 1)).all()
    permuted = method.estimate_error(prompts, method.represent(calibration.of_llms(ORDER)))
    torch.testing.assert_close(permuted, estimate[:, ORDER], atol=1e-4, rtol=1e-4)


def test_perceptron_beats_the_router_that_does_not_read_the_prompt() -> None:
    train, calibration, test = outcomes(0, 200), outcomes(2, 100), outcomes(3, 200)
    found = squared_error(MLP(), train, calibration, test)
    assert found < 0.7 * squared_error(ZeroRouter(), train, calibration, test)


def exclusive_or(seed: int, num_prompts: int) -> Outcomes:
    """An LLM errs where two coordinates have one sign, another where they have not."""
    embedding = torch.randn(num_prompts, 2, generator=torch.Generator().manual_seed(seed))
    errs = embedding.prod(-1, keepdim=True) > 0
    return Outcomes(embedding, torch.cat([errs, ~errs], 1).float(), torch.ones(num_prompts, 2, dtype=torch.bool))


def test_hidden_layer_learns_what_no_linear_map_can() -> None:
    def found(method: RetrainedNetwork) -> float:
        validation = exclusive_or(1, 100)
        method.fit(trial_of(exclusive_or(0, 400), tuning(num_calibration=300)._replace(validation=validation)))
        test = exclusive_or(3, 200)
        estimate = method.estimate_error(test.embedding, method.represent(exclusive_or(2, 300)))
        return float((estimate - test.error).square().mean())

    assert found(MLP()) < 0.21
    assert found(MatrixFactorization()) > 0.24


def test_llm_without_outcomes_is_estimated_at_one_half() -> None:
    method = MLP()
    method.fit(trial_of(outcomes(0), tuning()))
    calibration = outcomes(2)
    calibration.observed[:, 1] = False
    estimate = method.estimate_error(outcomes(3).embedding, method.represent(calibration))
    assert (estimate[:, 1] == 0.5).all()
    assert (estimate[:, 0] != 0.5).all()


def test_onboarding_trains_with_the_chosen_hyper_parameters_on_the_calibration_prompts_alone() -> None:
    method = MLP()
    method.fit(trial_of(outcomes(0), tuning(seed=5)))
    chosen = next(candidate for candidate in GRID.candidates() if candidate._asdict() == method.describe())
    reference = train_networks(outcomes(2), GRID, 5)[chosen]
    for found, expected in zip(method.represent(outcomes(2)), reference, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_same_seed_same_estimates() -> None:
    estimates = []
    for seed in (0, 0, 1):
        method = MLP()
        method.fit(trial_of(outcomes(0), tuning(seed=seed)))
        estimates.append(method.estimate_error(outcomes(3).embedding, method.represent(outcomes(2))))
    assert torch.equal(estimates[0], estimates[1])
    assert not torch.equal(estimates[0], estimates[2])


def test_clairvoyant_ignores_the_calibration_outcomes() -> None:
    method = ClairvoyantMLP()
    method.fit(trial_of(outcomes(0), tuning()))
    prompts, calibration = outcomes(3).embedding, outcomes(2)
    inverted = calibration._replace(error=1 - calibration.error)
    estimate = method.estimate_error(prompts, method.represent(calibration))
    assert torch.equal(estimate, method.estimate_error(prompts, method.represent(inverted)))


def test_clairvoyant_refuses_other_llms() -> None:
    method = ClairvoyantMLP()
    method.fit(trial_of(outcomes(0), tuning()))
    with pytest.raises(AssertionError):
        method.represent(outcomes(2, num_llms=4))


def test_clairvoyant_learns_the_unseen_llms_and_not_the_seen_ones() -> None:
    seen, unseen, test = outcomes(0, 200), outcomes(4, 200), outcomes(3, 200)
    inverted = seen._replace(error=1 - seen.error)
    chosen_on = tuning()._replace(validation=outcomes(1)._replace(error=1 - outcomes(1).error))
    method = ClairvoyantMLP()
    method.fit(trial_of(inverted, chosen_on, clairvoyant=unseen))
    estimate = method.estimate_error(test.embedding, method.represent(outcomes(2, 5)))
    found = float((estimate - test.error).square().mean())
    assert found < 0.7 * squared_error(ZeroRouter(), seen, outcomes(2, 100), test)


def test_clairvoyant_chooses_by_the_seen_llms_alone() -> None:
    chosen = []
    for unseen in (outcomes(4), outcomes(5)):
        method = ClairvoyantMLP()
        method.fit(trial_of(outcomes(0), tuning(), clairvoyant=unseen))
        chosen.append(method.describe())
    assert chosen[0] == chosen[1]
    assert set(chosen[0]) == {"num_hidden", "weight_decay", "num_steps"}


def test_clairvoyant_follows_the_order_of_llms() -> None:
    estimates = []
    for unseen in (outcomes(4), outcomes(4).of_llms(ORDER)):
        method = ClairvoyantMLP()
        method.fit(trial_of(outcomes(0), tuning(), clairvoyant=unseen))
        estimates.append(method.estimate_error(outcomes(3).embedding, method.represent(outcomes(2))))
    torch.testing.assert_close(estimates[1], estimates[0][:, ORDER], atol=1e-4, rtol=1e-4)
