import pytest
import torch
from torch import Tensor

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.label_noise import correct_flips, estimate_flip_rate, fit_difficulty

ABILITY = torch.linspace(-1.5, 1.5, 24)


def draw(ability: Tensor, seed: int, num_prompts: int = 600) -> tuple[Tensor, Tensor]:
    """Probabilities and outcomes of LLMs of these abilities on prompts of spread difficulty."""
    generator = torch.Generator().manual_seed(0)
    difficulty = 2.5 * torch.randn(num_prompts, generator=generator)
    failure = torch.sigmoid(difficulty[:, None] - ability)
    return failure, (torch.rand(failure.shape, generator=generator.manual_seed(seed)) < failure).float()


def flip(error: Tensor, rate: float, seed: int = 9) -> Tensor:
    flipped = torch.rand(error.shape, generator=torch.Generator().manual_seed(seed)) < rate
    return torch.where(flipped, 1 - error, error)


def everywhere(error: Tensor) -> Tensor:
    return torch.ones_like(error, dtype=torch.bool)


def test_difficulty_is_recovered_up_to_the_mean_ability() -> None:
    failure, error = draw(ABILITY, 1)
    known = fit_difficulty(error, everywhere(error))
    true = torch.logit(failure[:, 0]) + ABILITY[0]
    assert torch.corrcoef(torch.stack([known.difficulty, true]))[0, 1] > 0.9
    assert float(known.difficulty.mean()) == pytest.approx(float(true.mean()), abs=0.3)
    assert float(known.ability_spread) == pytest.approx(float(ABILITY.std()), rel=0.3)


def test_outcomes_that_were_not_observed_say_nothing() -> None:
    _, error = draw(ABILITY, 1)
    observed = torch.rand(error.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    other = torch.where(observed, error, 1 - error)
    for mine, theirs in zip(fit_difficulty(error, observed), fit_difficulty(other, observed), strict=True):
        assert torch.equal(mine, theirs)
    known = fit_difficulty(error, observed)
    one, two = (correct_flips(e[:, :1], observed[:, :1], known, 0.2) for e in (error, other))
    assert torch.equal(one[observed[:, :1]], two[observed[:, :1]])
    assert torch.equal(estimate_flip_rate(error, observed, known), estimate_flip_rate(other, observed, known))


@pytest.mark.parametrize("agreed", [0.0, 1.0])
def test_difficulty_is_finite_where_all_agree_and_for_one_llm(agreed: float) -> None:
    for num_llms in (1, 5):
        error = torch.full((10, num_llms), agreed)
        known = fit_difficulty(error, everywhere(error))
        assert torch.isfinite(known.difficulty).all()
        assert known.ability_spread > 0


def test_no_flips_change_nothing() -> None:
    _, error = draw(ABILITY, 1, num_prompts=50)
    assert torch.equal(correct_flips(error, everywhere(error), fit_difficulty(error, everywhere(error)), 0.0), error)


def test_corrected_outcomes_are_much_nearer_to_the_truth_than_the_flipped_and_unbiased() -> None:
    _, error = draw(ABILITY, 1)
    known = fit_difficulty(error, everywhere(error))
    _, new = draw(torch.tensor([-1.0, 0.0, 1.0]), 3)
    noisy = flip(new, 0.2)
    corrected = correct_flips(noisy, everywhere(new), known, 0.2)
    assert ((corrected >= 0) & (corrected <= 1)).all()
    assert (corrected - new).square().mean() < 0.5 * (noisy - new).square().mean()
    assert (corrected.mean(0) - new.mean(0)).abs().max() < 0.04
    assert (noisy.mean(0) - new.mean(0)).abs().max() > 0.06


def test_a_failure_on_an_easy_prompt_is_doubted_more_than_on_a_hard_one() -> None:
    _, error = draw(ABILITY, 1)
    known = fit_difficulty(error, everywhere(error))
    noisy = flip(error[:, 12:13], 0.2)
    corrected = correct_flips(noisy, everywhere(noisy), known, 0.2)
    failed = noisy[:, 0] == 1
    assert corrected[failed & (known.difficulty < -2), 0].max() < corrected[failed & (known.difficulty > 2), 0].min()
    assert (corrected[failed, 0].mean() > corrected[~failed, 0].mean()).item()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.3])
def test_the_flip_rate_is_estimated(rate: float) -> None:
    _, error = draw(ABILITY, 1)
    known = fit_difficulty(error, everywhere(error))
    _, new = draw(torch.tensor([-0.5, 0.5]), 3)
    estimated = estimate_flip_rate(flip(new, rate), everywhere(new), known)
    assert (estimated - rate).abs().max() < 0.07


@pytest.mark.parametrize("rate", [-0.1, 0.5, float("nan")])
def test_impossible_flip_rates_are_refused(rate: float) -> None:
    error = torch.zeros(3, 1)
    with pytest.raises(PoolError, match="flip_rate"):
        correct_flips(error, everywhere(error), fit_difficulty(error, everywhere(error)), rate)
