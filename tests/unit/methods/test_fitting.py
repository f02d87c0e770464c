"""Training of networks: its objective against references, candidates side by side, and what must not matter."""

import numpy
import pytest
import torch
from made_outcomes import outcomes
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from unirouter_torch.methods.fitting import (
    Candidate,
    Grid,
    Network,
    Scaling,
    descend,
    mean_cross_entropy,
    overall_logit,
    train_networks,
)
from unirouter_torch.routing.outcomes import Outcomes


def identity(hidden: torch.Tensor) -> torch.Tensor:
    return hidden


GRID = Grid(torch.relu, learning_rate=0.01, num_hidden=(4, 8), weight_decay=(0.0, 10.0), num_steps=(3, 20))


def logits(seen: Outcomes, prompts: torch.Tensor, grid: Grid, seed: int = 0) -> dict[Candidate, torch.Tensor]:
    networks = train_networks(seen, grid, seed)
    return {candidate: networks[candidate].logit(prompts, grid.activation) for candidate in grid.candidates()}


def converged(weight_decay: float, num_hidden: int = 1, num_steps: int = 1000) -> Grid:
    return Grid(identity, 0.02, num_hidden=(num_hidden,), weight_decay=(weight_decay,), num_steps=(num_steps,))


def test_cross_entropy_equals_that_of_torch_on_the_observed_pairs() -> None:
    some = outcomes(0, density=0.6)
    some = some._replace(error=torch.rand(60, 5, generator=torch.Generator().manual_seed(1)))
    logit = torch.randn(3, 60, 5, generator=torch.Generator().manual_seed(2))
    found = mean_cross_entropy(logit, some)
    for row in range(3):
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            logit[row][some.observed], some.error[some.observed]
        )
        torch.testing.assert_close(found[row], expected)


def test_linear_network_without_decay_is_logistic_regression() -> None:
    seen, prompts = outcomes(0, 300), outcomes(1).embedding
    (found,) = logits(seen, prompts, converged(0.0, num_hidden=8)).values()
    for llm in range(5):
        reference = LogisticRegression(C=numpy.inf, tol=1e-8).fit(seen.embedding.numpy(), seen.error[:, llm].numpy())
        expected = torch.from_numpy(reference.decision_function(prompts.numpy())).float()
        torch.testing.assert_close(found[:, llm], expected, atol=0.01, rtol=0.01)


def test_weight_decay_of_a_rank_one_network_is_that_many_norms_of_its_product() -> None:
    # the least (|w|^2 + u^2) / 2 of all w and u with the product w u = v is |v|
    weight_decay = 8.0
    seen = outcomes(0, num_llms=1)
    scaling = Scaling.of(seen.embedding)
    seen = seen._replace(embedding=scaling.apply(seen.embedding))
    embedding, error = seen.embedding.double().numpy(), seen.error[:, 0].double().numpy()

    def loss(parameters: numpy.ndarray) -> float:
        logit = embedding @ parameters[1:] + parameters[0]
        entropy = numpy.logaddexp(0, logit) - error * logit
        return float(entropy.sum() + weight_decay * numpy.linalg.norm(parameters[1:]))

    reference = minimize(loss, numpy.full(9, 0.1), tol=1e-10).x
    (found,) = logits(seen, seen.embedding, converged(weight_decay)).values()
    expected = torch.from_numpy(embedding @ reference[1:] + reference[0]).float()
    assert expected.std() > 0.1
    torch.testing.assert_close(found[:, 0], expected, atol=0.005, rtol=0.005)


def test_heavy_decay_leaves_the_mean_error() -> None:
    seen = outcomes(0, density=0.7)
    (found,) = logits(seen, outcomes(1).embedding, converged(1e5)).values()
    mean = (seen.error * seen.observed).sum(0) / seen.observed.sum(0)
    torch.testing.assert_close(torch.sigmoid(found), mean.expand(60, 5), atol=0.01, rtol=0.0)


def test_candidates_side_by_side_train_as_each_alone() -> None:
    seen, prompts = outcomes(0, density=0.7), outcomes(1).embedding
    together = logits(seen, prompts, GRID)
    assert len(together) == 8
    for candidate, found in together.items():
        (alone,) = logits(seen, prompts, GRID.only(candidate)).values()
        torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-4)


def test_errors_of_pairs_that_were_not_observed_change_nothing() -> None:
    seen, prompts = outcomes(0, density=0.7), outcomes(1).embedding
    unknown = seen._replace(error=torch.where(seen.observed, seen.error, torch.nan))
    for found, expected in zip(
        logits(unknown, prompts, GRID).values(), logits(seen, prompts, GRID).values(), strict=True
    ):
        assert torch.equal(found, expected)


def test_graded_errors_are_fitted_as_they_are() -> None:
    seen = outcomes(0)._replace(error=torch.full((60, 5), 0.3))
    for found in logits(seen, outcomes(1).embedding, converged(10.0)).values():
        torch.testing.assert_close(torch.sigmoid(found), torch.full((60, 5), 0.3), atol=1e-3, rtol=0.0)


def test_llm_without_outcomes_has_a_logit_of_zero() -> None:
    seen = outcomes(0)
    seen.observed[:, 2] = False
    for found in logits(seen, outcomes(1).embedding, GRID).values():
        assert (found[:, 2] == 0).all()
        assert (found[:, [0, 1, 3, 4]] != 0).all()


def test_shifting_and_scaling_the_embedding_changes_nothing() -> None:
    seen, prompts = outcomes(0), outcomes(1).embedding
    moved = logits(seen._replace(embedding=3.0 * seen.embedding + 2.0), 3.0 * prompts + 2.0, GRID)
    for candidate, found in logits(seen, prompts, GRID).items():
        torch.testing.assert_close(found, moved[candidate], atol=1e-3, rtol=1e-3)


def test_prompts_that_are_all_alike_are_no_trouble() -> None:
    seen = outcomes(0)._replace(embedding=torch.ones(60, 8))
    for found in logits(seen, outcomes(1).embedding, GRID).values():
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_training_is_determined_by_its_seed(seed: int) -> None:
    seen, prompts = outcomes(0), outcomes(1).embedding
    candidate = GRID.candidates()[-1]
    assert torch.equal(logits(seen, prompts, GRID)[candidate], logits(seen, prompts, GRID, seed)[candidate]) == (
        not seed
    )


def test_many_prompts_are_met_in_shuffled_batches_without_repetition() -> None:
    seen = outcomes(0, num_prompts=1100)
    batches: list[Outcomes] = []

    def loss(parameters, batch: Outcomes) -> torch.Tensor:
        batches.append(batch)
        return parameters[0].square().sum()

    descend([torch.ones(1)], loss, seen, (4,), learning_rate=0.1, seed=0)
    assert [len(batch.embedding) for batch in batches] == [512] * 4
    for first, second in (batches[:2], batches[2:]):
        both = torch.cat([first.embedding, second.embedding])
        assert len(torch.unique(both, dim=0)) == 1024
    assert not torch.equal(batches[0].embedding, batches[2].embedding)


def test_descent_is_that_of_adam_and_leaves_the_start_alone() -> None:
    start = torch.tensor([1.0, -2.0])

    def loss(parameters, _: Outcomes) -> torch.Tensor:
        return parameters[0].square().sum()

    snapshots = descend([start], loss, outcomes(0), (1, 5), learning_rate=0.1, seed=0)
    parameter = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([parameter], lr=0.1)
    for step in range(1, 6):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
        if step in (1, 5):
            torch.testing.assert_close(snapshots.pop(0)[0], parameter.detach())
    assert start.tolist() == [1.0, -2.0]


def test_descent_works_where_gradients_are_off() -> None:
    seen, prompts = outcomes(0), outcomes(1).embedding
    candidate = GRID.candidates()[-1]
    with torch.no_grad():
        found = logits(seen, prompts, GRID)[candidate]
    assert torch.equal(found, logits(seen, prompts, GRID)[candidate])


def test_network_is_two_layers() -> None:
    generator = torch.Generator().manual_seed(0)
    network = Network(*(torch.randn(shape, generator=generator) for shape in [(3, 2), (2,), (2, 4), (4,)]))
    prompts = torch.randn(5, 3, generator=generator)
    found = network.logit(prompts, torch.relu)
    for row, prompt in enumerate(prompts):
        for llm in range(4):
            hidden = [max(0.0, float(prompt @ network.weight[:, unit] + network.offset[unit])) for unit in range(2)]
            expected = sum(h * float(network.output[unit, llm]) for unit, h in enumerate(hidden))
            assert float(found[row, llm]) == pytest.approx(expected + float(network.output_offset[llm]), abs=1e-5)


def test_overall_logit_counts_one_more_outcome_of_one_half() -> None:
    some = outcomes(0, num_prompts=4, num_llms=2)
    some = some._replace(error=torch.tensor([[1.0, 0.0]] * 4), observed=torch.tensor([[True, False]] * 4))
    assert torch.sigmoid(overall_logit(some)).tolist() == pytest.approx([4.5 / 5, 0.5])
