import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.methods.random_choice import RandomChoice


def estimate(seed: int, num_prompts: int, num_llms: int = 4) -> torch.Tensor:
    method = RandomChoice()
    method.fit(trial_of(outcomes(0), tuning(seed=seed)))
    features = method.represent(outcomes(2, num_llms=num_llms))
    return method.estimate_error(torch.zeros(num_prompts, 8), features)


def test_every_llm_is_chosen_equally_often_whatever_its_errors() -> None:
    chosen = torch.bincount(estimate(0, 40_000).argmin(1), minlength=4) / 40_000
    assert torch.allclose(chosen, torch.full((4,), 0.25), atol=0.01)


def test_estimates_are_uniform_and_independent_of_each_other() -> None:
    found = estimate(1, 40_000)
    assert ((found >= 0) & (found < 1)).all()
    counts = torch.histc(found, 10, 0, 1) / found.numel()
    assert torch.allclose(counts, torch.full((10,), 0.1), atol=0.005)
    assert (torch.corrcoef(found.T) - torch.eye(4)).abs().max() < 0.02


def test_same_seed_gives_the_same_choice_and_another_seed_another() -> None:
    assert torch.equal(estimate(0, 50), estimate(0, 50))
    assert not torch.equal(estimate(0, 50), estimate(1, 50))
