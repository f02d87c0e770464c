import dataclasses

import pytest
import torch

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.pooled_llm import PooledLLM
from unirouter_torch.routing.token_cost import TokenCost


def make_pool(names=("small", "large"), cost=(1.0, 4.0), reference_cost: float = 4.0) -> LLMPool:
    empty = LLMPool.empty(2, reference_cost=reference_cost)
    llms = tuple(
        PooledLLM(
            name=name,
            cost=its_cost,
            sums=ClusterSums(torch.tensor([[2.0 * place, 2.0 * place + 1]]), torch.full((1, 2), 10.0)),
        )
        for place, (name, its_cost) in enumerate(zip(names, cost, strict=True))
    )
    return dataclasses.replace(empty, llms=llms)


def llm(name: str, cost: float, error: float, num_clusters: int = 2) -> PooledLLM:
    shape = (1, num_clusters)
    return PooledLLM(name=name, cost=cost, sums=ClusterSums(torch.full(shape, error), torch.full(shape, 10.0)))


def test_relative_cost_is_in_units_of_the_reference_cost() -> None:
    assert make_pool().relative_cost.tolist() == [0.25, 1.0]


def test_reference_cost_stays_when_a_dearer_llm_joins() -> None:
    pool = make_pool().with_llm(llm("huge", 8.0, 1.0))
    assert pool.names == ("small", "large", "huge")
    assert pool.relative_cost.tolist() == [0.25, 1.0, 2.0]


def test_adding_and_removing_an_llm_restores_the_pool() -> None:
    pool = make_pool()
    restored = pool.with_llm(llm("guest", 2.0, 3.0)).without_llm("guest")
    assert restored.names == pool.names
    assert torch.equal(restored.cost, pool.cost)
    assert torch.equal(restored.sums.error, pool.sums.error)


def test_selection_keeps_each_llm_with_its_own_row() -> None:
    pool = make_pool().select(["large", "small"])
    assert pool.cost.tolist() == [4.0, 1.0]
    assert pool.sums.error.tolist() == [[2.0, 3.0], [0.0, 1.0]]


def test_renamed_llm_keeps_its_place_its_row_and_its_availability() -> None:
    pool = make_pool().with_changes("small", is_available=False).with_changes("small", name="tiny")
    assert pool.names == ("tiny", "large") and not pool["tiny"].is_available
    assert torch.equal(pool.sums.error, make_pool().sums.error)


def test_repriced_llm_leaves_the_reference_cost_and_the_pool_before_it() -> None:
    pool = make_pool()
    assert pool.with_changes("large", cost=8.0).cost.tolist() == [1.0, 8.0]
    assert pool.with_changes("large", cost=8.0).reference_cost == 4.0
    assert pool.cost.tolist() == [1.0, 4.0]


def test_disabled_llm_is_not_available_and_leaves_no_trace_when_removed() -> None:
    pool = make_pool().with_changes("small", is_available=False)
    assert pool.available.tolist() == [False, True]
    assert pool.with_changes("small", is_available=True).available.tolist() == [True, True]
    assert pool.without_llm("small").available.tolist() == [True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: make_pool(names=("a", "a")), "'a' occurs more than once"),
        (lambda: make_pool(cost=(-1.0, 2.0)), "cost of 'small'"),
        (lambda: make_pool(reference_cost=0.0), "reference cost"),
        (lambda: make_pool().with_llm(llm("small", 1.0, 0.0)), "'small' is in it already"),
        (lambda: make_pool().with_llm(llm("new", float("nan"), 0.0)), "cost of 'new'"),
        (lambda: make_pool().without_llm("nobody"), "no LLM named 'nobody'.*small, large"),
        (lambda: make_pool().without_llm("small").without_llm("large"), "last LLM"),
        (lambda: make_pool(names=("a", " ")), "empty name"),
        (lambda: make_pool().with_changes("nobody", name="a"), "no LLM named 'nobody'"),
        (lambda: make_pool().with_changes("small", name="large"), "'large' is in it already"),
        (lambda: make_pool().with_changes("nobody", cost=1.0), "no LLM named 'nobody'"),
        (lambda: make_pool().with_changes("small", cost=float("inf")), "cost of 'small'"),
        (lambda: make_pool().with_changes("nobody", is_available=True), "no LLM named 'nobody'"),
        (lambda: make_pool(("small",), (1.0,)).with_changes("small", is_available=False), "Enable another"),
        (lambda: make_pool().with_changes("small", is_available=False).without_llm("large"), "Enable another"),
        (lambda: make_pool().with_llm(llm("new", 1.0, 0.5, num_clusters=3)), r"sums of 'new': got shape \(1, 3\)"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(change, message: str) -> None:
    with pytest.raises(PoolError, match=message):
        change()


def test_unknown_name_of_a_large_pool_is_answered_by_the_names_most_like_it() -> None:
    pool = LLMPool.empty(1)
    for number in range(30):
        pool = pool.with_llm(llm(f"llm-{number}", 1.0, 0.0, num_clusters=1))
    with pytest.raises(PoolError, match=r"it holds llm-17, .* and 25 more\.$"):
        pool.find("llm-17b")


def test_latency_by_the_token_needs_the_length_of_answers() -> None:
    answers = TokenCost(price_in=0.0, price_out=0.0, token_sum=torch.ones(2), weight_sum=torch.ones(2))
    slow = Latency(seconds=2.0, seconds_per_token=0.01)
    pool = make_pool().with_changes("small", token_cost=answers, latency=slow).with_changes("small", name="newer")
    assert pool["newer"].latency == slow and pool["large"].latency is None
    with pytest.raises(PoolError, match="'large' is not known, so it has no latency by the token"):
        pool.with_changes("large", latency=slow)
