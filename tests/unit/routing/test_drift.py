import pytest
import torch
from torch import Tensor

from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.drift import FALSE_ALARM_RATE, TOLERANCE, DriftTest

REFERENCE = ClusterSums(torch.zeros(1, 2), torch.zeros(1, 2))


def bernoulli(probability: Tensor, seed: int) -> Tensor:
    return (torch.rand(len(probability), generator=torch.Generator().manual_seed(seed)) < probability).float()


def estimates(num_prompts: int, seed: int) -> Tensor:
    return 0.1 + 0.6 * torch.rand(num_prompts, generator=torch.Generator().manual_seed(seed))


def stream(num_prompts: int, shift: float, seed: int) -> tuple[Tensor, Tensor]:
    estimated = estimates(num_prompts, seed)
    return bernoulli(estimated + shift, 1000 + seed), estimated


@pytest.mark.parametrize("shift", [TOLERANCE, 0.0, -TOLERANCE])
def test_false_alarms_are_as_rare_as_promised_even_at_the_edge(shift: float) -> None:
    alarms = sum(DriftTest.new(REFERENCE).after(*stream(400, shift, seed)).has_drifted for seed in range(100))
    assert alarms <= 4  # 1 expected at most; 5 or more of 100 have a probability of 0.4 %
    assert FALSE_ALARM_RATE == 0.01


def test_the_evidence_is_one_on_average_at_most() -> None:
    """At the edge of the tolerance, over all outcomes of three prompts: the mean of an e-value, exactly."""
    estimated, total = torch.tensor([0.3, 0.5, 0.2]), 0.0
    for number in range(8):
        error = torch.tensor([float(number >> bit & 1) for bit in range(3)])
        failure = (estimated + TOLERANCE).double()
        chance = float(torch.where(error.bool(), failure, 1 - failure).prod())
        test = DriftTest.new(REFERENCE).after(error, estimated)
        total += chance * (float(test.wealth.mean()) + 1 / (test.num_prompts + 1))
    assert total <= 1 + 1e-9
    assert total > 0.8


@pytest.mark.parametrize(("shift", "is_worse"), [(0.3, True), (-0.35, False)])
def test_a_change_after_a_long_time_is_found_with_its_direction(shift: float, is_worse: bool) -> None:
    quiet = DriftTest.new(REFERENCE).after(*stream(1500, 0.0, 1))
    assert not quiet.has_drifted
    estimated = 0.4 + 0.2 * torch.rand(400, generator=torch.Generator().manual_seed(7))
    changed = quiet.after(bernoulli(estimated + shift, 8), estimated)
    assert changed.has_drifted
    assert changed.is_worse == is_worse


def test_batches_do_not_matter() -> None:
    error, estimated = stream(60, 0.3, 3)
    whole = DriftTest.new(REFERENCE).after(error, estimated)
    parts = DriftTest.new(REFERENCE)
    for start in range(0, 60, 7):
        parts = parts.after(error[start : start + 7], estimated[start : start + 7])
    assert torch.equal(whole.wealth, parts.wealth)
    assert (whole.num_prompts, whole.most_evidence) == (parts.num_prompts, parts.most_evidence)


def test_an_alarm_stays() -> None:
    alarmed = DriftTest.new(REFERENCE).after(torch.ones(60), torch.full((60,), 0.1))
    assert alarmed.has_drifted
    assert alarmed.after(*stream(600, 0.0, 5)).has_drifted


def test_evidence_stays_finite() -> None:
    test = DriftTest.new(REFERENCE).after(torch.ones(1500), torch.zeros(1500))
    assert torch.isfinite(test.wealth).all()
