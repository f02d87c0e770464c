"""Item response: inference against scipy, limits in closed form, and a planted structure found again."""

import math

import numpy
import pytest
import torch
from made_outcomes import outcomes, trial_of, tuning
from scipy.optimize import minimize

from unirouter_torch.methods.item_response import ItemResponse, Items, Prior, infer_ability, train_items
from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.zero import ZeroRouter
from unirouter_torch.routing.outcomes import Outcomes

ORDER = torch.tensor([3, 1, 4, 0, 2])


def drawn(seed: int, num_abilities: int = 3) -> tuple[Items, Prior]:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(num_abilities, num_abilities, generator=generator)
    items = Items(
        torch.randn(8, num_abilities + 1, generator=generator), torch.randn(num_abilities + 1, generator=generator)
    )
    return items, Prior(torch.randn(num_abilities, generator=generator), root @ root.T + 0.1 * torch.eye(num_abilities))


def constant_items(discrimination: float = 1.0) -> Items:
    return Items(torch.zeros(8, 2), torch.tensor([0.0, discrimination]))


@pytest.mark.parametrize("num_abilities", [1, 3])
def test_inferred_abilities_equal_those_of_scipy(num_abilities: int) -> None:
    items, prior = drawn(0, num_abilities)
    calibration = outcomes(2, density=0.7)
    calibration = calibration._replace(
        error=torch.rand(60, 5, generator=torch.Generator().manual_seed(1)).round(decimals=1)
    )
    found = infer_ability(calibration, items, prior)
    precision, mean = numpy.linalg.inv(prior.covariance.double().numpy()), prior.mean.double().numpy()
    for llm in range(5):
        rows = calibration.observed[:, llm]
        embedding, error = calibration.embedding[rows].double().numpy(), calibration.error[rows, llm].double().numpy()
        item = embedding @ items.weight.double().numpy() + items.offset.double().numpy()

        def loss(ability: numpy.ndarray, item: numpy.ndarray = item, error: numpy.ndarray = error) -> float:
            wrong = 1 / (1 + numpy.exp(item[:, 1:] @ ability - item[:, 0]))
            likelihood = error * numpy.log(wrong) + (1 - error) * numpy.log1p(-wrong)
            return float((ability - mean) @ precision @ (ability - mean) / 2 - likelihood.sum())

        assert found[llm].tolist() == pytest.approx(minimize(loss, mean, tol=1e-12).x.tolist(), abs=1e-3)


def test_llm_without_outcomes_has_the_mean_abilities() -> None:
    items, prior = drawn(0)
    calibration = outcomes(2)
    calibration.observed[:, 1] = False
    found = infer_ability(calibration, items, prior)
    assert torch.equal(found[1], prior.mean)
    assert not torch.isclose(found[0], prior.mean, atol=1e-3).any()


def test_without_a_prior_one_ability_is_the_log_odds_of_being_right() -> None:
    calibration = outcomes(2, density=0.7)
    found = infer_ability(calibration, constant_items(), Prior(torch.zeros(1), torch.tensor([[1e8]])))
    mean = (calibration.error * calibration.observed).sum(0) / calibration.observed.sum(0)
    torch.testing.assert_close(found.squeeze(-1), torch.logit(1 - mean))


def test_a_certain_prior_leaves_no_room() -> None:
    items, prior = drawn(0)
    found = infer_ability(outcomes(2), items, prior._replace(covariance=1e-8 * torch.eye(3)))
    torch.testing.assert_close(found, prior.mean.expand(5, 3), atol=1e-4, rtol=0.0)


def test_newton_arrives_from_a_start_where_its_full_step_goes_astray() -> None:
    # at ability 8 all outcomes look certain, so the curvature is tiny and the first full step overshoots by hundreds
    calibration = outcomes(2)
    found = infer_ability(calibration, constant_items(), Prior(torch.tensor([8.0]), torch.tensor([[1e4]])))
    expected = torch.logit(1 - calibration.error.mean(0))
    torch.testing.assert_close(found.squeeze(-1), expected, atol=0.01, rtol=0.0)


def test_llm_that_is_always_right_stays_finite() -> None:
    calibration = outcomes(2)._replace(error=torch.zeros(60, 5))
    found = infer_ability(calibration, constant_items(5.0), Prior(torch.zeros(1), torch.eye(1)))
    assert torch.isfinite(found).all()
    assert (found > 0.5).all()


def test_errors_fall_with_ability_and_rise_with_difficulty() -> None:
    prompts = torch.zeros(1, 8)
    logit = constant_items().logit(prompts, torch.tensor([[-1.0], [2.0]]))
    assert logit.tolist() == [[1.0, -2.0]]
    harder = Items(torch.zeros(8, 2), torch.tensor([0.5, 1.0]))
    assert harder.logit(prompts, torch.tensor([[-1.0]])).tolist() == [[1.5]]


def test_prior_counts_one_more_llm_of_unit_covariance() -> None:
    prior = Prior.of(torch.tensor([[0.0, 2.0], [4.0, 2.0]]))
    assert prior.mean.tolist() == [2.0, 2.0]
    torch.testing.assert_close(prior.covariance, torch.tensor([[9.0, 0.0], [0.0, 1.0]]) / 3)


def test_prior_of_a_single_llm_is_no_trouble() -> None:
    method = ItemResponse()
    method.fit(trial_of(outcomes(0, num_llms=1), tuning()._replace(validation=outcomes(1, num_llms=1))))
    assert torch.isfinite(method.represent(outcomes(2))).all()


def planted(seed: int, llm_seed: int, num_prompts: int, num_llms: int = 20) -> tuple[Outcomes, torch.Tensor]:
    """Outcomes of LLMs with two abilities, and the probabilities behind them."""
    draw = torch.Generator().manual_seed(99)
    items = Items(torch.randn(8, 3, generator=draw) * 0.6, torch.tensor([0.3, 1.0, 0.0]))
    ability = torch.randn(num_llms, 2, generator=torch.Generator().manual_seed(llm_seed))
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(num_prompts, 8, generator=generator)
    probability = torch.sigmoid(items.logit(embedding, ability))
    error = torch.bernoulli(probability, generator=generator)
    return Outcomes(embedding, error, torch.ones_like(error, dtype=torch.bool)), probability


def test_planted_abilities_of_unseen_llms_are_recovered_from_few_outcomes() -> None:
    def squared_error(method: RoutingMethod) -> float:
        train, validation = planted(0, 10, 1000)[0], planted(1, 10, 200)[0]
        method.fit(trial_of(train, tuning(num_calibration=40)._replace(validation=validation)))
        test, probability = planted(3, 11, 300)
        estimate = method.estimate_error(test.embedding, method.represent(planted(2, 11, 40)[0]))
        return float((estimate - probability).square().mean())

    assert squared_error(ZeroRouter()) > 0.05
    assert squared_error(ItemResponse()) < 0.02


@pytest.mark.parametrize("density", [1.0, 0.5])
def test_estimates_lie_in_the_unit_interval_and_follow_the_order_of_llms(density: float) -> None:
    method = ItemResponse()
    method.fit(trial_of(outcomes(0, density=density), tuning()))
    calibration, prompts = outcomes(2, density=density), outcomes(3).embedding
    estimate = method.estimate_error(prompts, method.represent(calibration))
    assert ((estimate >= 0) & (estimate <= 1)).all()
    permuted = method.estimate_error(prompts, method.represent(calibration.of_llms(ORDER)))
    torch.testing.assert_close(permuted, estimate[:, ORDER])


def test_order_of_seen_llms_does_not_matter() -> None:
    trained = train_items(outcomes(0, density=0.7), 0)
    for candidate, (items, prior) in train_items(outcomes(0, density=0.7).of_llms(ORDER), 0).items():
        expected_items, expected_prior = trained[candidate]
        torch.testing.assert_close(items.weight, expected_items.weight, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(prior.covariance, expected_prior.covariance, atol=1e-4, rtol=1e-3)


def test_neither_missing_outcomes_nor_llms_without_any_play_a_part() -> None:
    train = outcomes(0, density=0.7)
    train.observed[:, 1] = False
    trained = train_items(train, 0)
    unknown = train._replace(error=torch.where(train.observed, train.error, torch.nan))
    others = train.of_llms(torch.tensor([0, 2, 3, 4]))
    for changed in (unknown, others):
        for candidate, (items, prior) in train_items(changed, 0).items():
            assert torch.equal(items.weight, trained[candidate][0].weight)
            assert torch.equal(prior.mean, trained[candidate][1].mean)
    calibration = outcomes(2, density=0.7)
    unknown = calibration._replace(error=torch.where(calibration.observed, calibration.error, torch.nan))
    assert torch.equal(infer_ability(unknown, *drawn(0)), infer_ability(calibration, *drawn(0)))


def test_duplicating_prompts_is_as_if_the_prior_knew_half_as_much() -> None:
    items, prior = drawn(0)
    calibration = outcomes(2)
    twice = calibration.of_prompts(torch.arange(60).repeat(2))
    expected = infer_ability(calibration, items, prior._replace(covariance=2 * prior.covariance))
    torch.testing.assert_close(infer_ability(twice, items, prior), expected, atol=1e-4, rtol=1e-4)


def test_same_seed_same_estimates() -> None:
    estimates = []
    for seed in (0, 0, 1):
        method = ItemResponse()
        method.fit(trial_of(outcomes(0), tuning(seed=seed)))
        estimates.append(method.estimate_error(outcomes(3).embedding, method.represent(outcomes(2))))
    assert torch.equal(estimates[0], estimates[1])
    assert not torch.equal(estimates[0], estimates[2])


def test_describes_what_was_chosen() -> None:
    method = ItemResponse()
    method.fit(trial_of(outcomes(0), tuning()))
    assert set(method.describe()) == {"num_abilities", "weight_decay", "num_steps"}
    assert method.represent(outcomes(2)).shape == (5, method.describe()["num_abilities"])
    assert not math.isnan(method.describe()["weight_decay"])
