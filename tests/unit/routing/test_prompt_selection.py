import pytest
import torch

from unirouter_torch.routing.cluster_error import cluster_error, sum_by_cluster
from unirouter_torch.routing.prompt_selection import (
    OutcomeAdjustment,
    fit_items,
    select_prompts,
    sum_adjusted,
)

NUM_LLMS = 30


def world(
    num_prompts: int = 300, num_clusters: int = 3, seed: int = 0, num_llms: int = NUM_LLMS
) -> tuple[torch.Tensor, ...]:
    """Cluster probabilities, difficulties, discriminations, cluster errors of LLMs, and the errors they lead to."""
    generator = torch.Generator().manual_seed(seed)
    probability = (3 * torch.randn(num_prompts, num_clusters, generator=generator)).softmax(-1)
    psi = 0.3 + 0.4 * torch.rand(num_llms, num_clusters, generator=generator)
    typical = probability @ psi.mean(0)
    difficulty = (typical + 0.1 * torch.randn(num_prompts, generator=generator)).clamp(0.3, 0.7)
    discrimination = torch.where(torch.rand(num_prompts, generator=generator) < 0.1, 2.0, 0.8)
    expected = difficulty[:, None] + discrimination[:, None] * (probability @ psi.T - typical[:, None])
    return probability, difficulty, discrimination, psi, expected.clamp(0, 1)


def everything_observed(error: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(error, dtype=torch.bool)


def test_items_are_found_where_outcomes_are_without_noise_and_llms_are_many() -> None:
    probability, difficulty, discrimination, psi, error = world()
    many = psi.repeat(200, 1)
    items = fit_items(probability, error.repeat(1, 200), everything_observed(error.repeat(1, 200)), many)
    torch.testing.assert_close(items.difficulty, difficulty, atol=0.01, rtol=0)
    torch.testing.assert_close(items.discrimination, discrimination, atol=0.1, rtol=0)


def test_prompt_without_outcomes_is_taken_for_a_usual_one_of_its_clusters() -> None:
    probability, _, _, psi, error = world()
    observed = everything_observed(error)
    observed[7] = False
    items = fit_items(probability, error, observed, psi)
    assert items.discrimination[7] == pytest.approx(1.0)
    assert items.difficulty[7] == pytest.approx(items.typical[7].item())


def test_errors_of_pairs_that_were_not_observed_do_not_matter() -> None:
    probability, _, _, psi, error = world()
    observed = torch.rand(error.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    other = torch.where(observed, error, 1 - error)
    one, two = (select_prompts(probability, e, observed, psi, 20) for e in (error, other))
    torch.testing.assert_close(one, two)


def test_prompts_that_part_llms_are_preferred() -> None:
    probability, _, discrimination, psi, error = world()
    rows = select_prompts(probability, error, everything_observed(error), psi, 20).rows
    assert discrimination[rows].mean() > 1.5 > discrimination.mean()


def test_every_cluster_is_covered() -> None:
    probability, _, _, psi, error = world()
    rows = select_prompts(probability, error, everything_observed(error), psi, 12).rows
    assert (probability[rows].sum(0) > 1.5).all()


def test_smaller_choice_begins_the_larger_one_and_no_prompt_stands_twice() -> None:
    probability, _, _, psi, error = world()
    few, many, all_ = (select_prompts(probability, error, everything_observed(error), psi, n) for n in (5, 50, 9999))
    assert few.rows.tolist() == many.rows[:5].tolist()
    assert sorted(all_.rows.tolist()) == list(range(300))


def test_first_prompt_lowers_the_expected_squared_error_most() -> None:
    probability, _, _, psi, error = world(num_prompts=25)
    items = fit_items(probability, error, everything_observed(error), psi)
    covariance = torch.cov(psi.T) + 0.25 * torch.eye(3)

    def left(row: int) -> float:
        effect = items.discrimination[row] * probability[row]
        posterior = torch.linalg.inv(torch.linalg.inv(covariance) + torch.outer(effect, effect) / items.noise[row])
        return torch.einsum("pi,ij,pj->", probability, posterior, probability).item()

    chosen = select_prompts(probability, error, everything_observed(error), psi, 1).rows.item()
    assert chosen == min(range(25), key=left)


def test_adjusted_sums_of_chosen_prompts_are_nearer_to_the_truth() -> None:
    probability, _, _, psi, expected = world(num_prompts=2000, seed=3, num_llms=110)
    generator = torch.Generator().manual_seed(4)
    error = (torch.rand(expected.shape, generator=generator) < expected).float()
    observed = everything_observed(error)
    seen, unseen = torch.arange(100), torch.arange(100, 110)
    known = cluster_error(sum_by_cluster(probability, error[:, seen], observed[:, seen]), 1.0)
    chosen = select_prompts(probability, error[:, seen], observed[:, seen], known, 150)
    rows = chosen.rows

    def distance(adjustment: OutcomeAdjustment | None) -> float:
        sums = sum_adjusted(probability[rows], error[rows][:, unseen], observed[rows][:, unseen], adjustment)
        return (cluster_error(sums, 5.0) - psi[unseen]).square().mean().item()

    assert distance(chosen.adjustment) < 0.8 * distance(None)
    offset, slope = chosen.adjustment
    for worse in (OutcomeAdjustment(offset, torch.ones_like(slope)), OutcomeAdjustment(0 * offset, slope)):
        assert distance(chosen.adjustment) < distance(worse)


def test_sums_without_adjustment_are_those_of_the_errors_and_none_leaves_its_range() -> None:
    probability, _, _, _, error = world(num_prompts=9)
    observed = torch.rand(error.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    plain = sum_by_cluster(probability, error, observed)
    torch.testing.assert_close(sum_adjusted(probability, error, observed, None), plain)
    as_it_is = OutcomeAdjustment(torch.zeros(9), torch.ones(9))
    torch.testing.assert_close(sum_adjusted(probability, error, observed, as_it_is), plain)
    far = sum_adjusted(probability, error, observed, OutcomeAdjustment(torch.full((9,), -2.0), torch.full((9,), 7.0)))
    assert (far.error >= 0).all() and (far.error <= far.weight).all()
    torch.testing.assert_close(far.weight, plain.weight)
