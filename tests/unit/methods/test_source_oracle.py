import pytest
import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.methods.source_oracle import SourceOracle
from unirouter_torch.methods.zero import ZeroRouter


def estimate(truth, source: torch.Tensor) -> torch.Tensor:
    method = SourceOracle()
    method.fit(trial_of(outcomes(0), tuning(), test=truth, test_source=source))
    return method.estimate_error(truth.embedding, method.represent(outcomes(2)))


@pytest.mark.parametrize("density", [1.0, 0.6])
def test_estimate_is_the_true_mean_error_in_the_source_of_the_prompt(density: float) -> None:
    truth, source = outcomes(3, density=density), torch.arange(60) % 4
    found = estimate(truth, source)
    for prompt in range(60):
        for llm in range(5):
            same = [
                float(truth.error[other, llm])
                for other in range(60)
                if source[other] == source[prompt] and truth.observed[other, llm]
            ]
            assert float(found[prompt, llm]) == pytest.approx(sum(same) / len(same))


def test_no_estimate_by_source_has_a_smaller_squared_error() -> None:
    truth, source = outcomes(3), torch.arange(60) % 4
    best = (estimate(truth, source) - truth.error).square().mean()
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = estimate(truth, source) + 0.05 * torch.randn(4, 5, generator=generator)[source]
        assert (other - truth.error).square().mean() > best


def test_one_source_is_the_overall_error_and_a_source_for_each_prompt_the_truth() -> None:
    truth = outcomes(3)
    overall = ZeroRouter().represent(truth)
    torch.testing.assert_close(estimate(truth, torch.zeros(60, dtype=torch.long)), overall.expand(60, -1))
    torch.testing.assert_close(estimate(truth, torch.arange(60)), truth.error)


def test_llm_that_was_not_observed_in_a_source_takes_its_overall_error() -> None:
    truth, source = outcomes(3), torch.arange(60) % 4
    truth.observed[source == 1, 2] = False
    expected = truth.error[source != 1, 2].mean()
    assert estimate(truth, source)[source == 1, 2].tolist() == pytest.approx([float(expected)] * 15)
