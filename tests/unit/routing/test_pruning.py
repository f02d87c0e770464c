import torch
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.routing.decision import beyond_cheapest, order_by_cost, tie_tolerance
from unirouter_torch.routing.pruning import undominated_llms

weights = st.sampled_from([0.0, 0.125, 0.5, 1.0, 4.0])


@st.composite
def pools(draw):
    """Cluster errors and costs on coarse dyadic grids, full of ties, in order of cost."""
    num_llms, num_clusters = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    row = st.lists(st.integers(0, 4), min_size=num_clusters, max_size=num_clusters)
    cluster_error = torch.tensor(draw(st.lists(row, min_size=num_llms, max_size=num_llms))) / 4
    cost = torch.tensor(draw(st.lists(st.integers(0, 4), min_size=num_llms, max_size=num_llms))) / 4
    by_cost = order_by_cost(cost)
    return cluster_error[by_cost], cost[by_cost]


def dominated(cluster_error, added, tolerance: float) -> list[int]:
    """The definition, pair by pair."""
    total = (cluster_error + added[:, None]).tolist()
    losers = []
    for llm, mine in enumerate(total):
        for other, its in enumerate(total):
            earlier = other < llm and all(a <= b for a, b in zip(its, mine, strict=True))
            better = all(a + 2 * tolerance <= b for a, b in zip(its, mine, strict=True))
            if other != llm and (earlier or better):
                losers.append(llm)
                break
    return losers


@given(pools(), weights)
def test_dominated_llms_are_dropped_and_no_other(pool, weight: float) -> None:
    cluster_error, cost = pool
    added, tolerance = weight * beyond_cheapest(cost), tie_tolerance(torch.float32)
    kept = undominated_llms(cluster_error, added, tolerance)
    assert sorted(kept.tolist() + dominated(cluster_error, added, tolerance)) == list(range(len(cost)))


def test_an_llm_that_is_no_worse_everywhere_drops_those_after_it() -> None:
    cluster_error = torch.tensor([[0.2, 0.4], [0.2, 0.4], [0.1, 0.5], [0.3, 0.5]])
    assert undominated_llms(cluster_error, torch.zeros(4), 1e-7).tolist() == [0, 2]


def test_an_earlier_llm_that_is_worse_by_less_than_a_tie_remains() -> None:
    cluster_error = torch.tensor([[0.2 + 1e-6, 0.4 + 1e-6], [0.2, 0.4]])
    assert undominated_llms(cluster_error, torch.zeros(2), 2e-6).tolist() == [0, 1]
    assert undominated_llms(cluster_error, torch.zeros(2), 1e-7).tolist() == [1]


def test_cost_decides_at_a_large_cost_weight() -> None:
    cluster_error = torch.tensor([[0.9, 0.9], [0.1, 0.2]])
    cost = torch.tensor([0.0, 1.0])
    assert undominated_llms(cluster_error, 0.5 * cost, 1e-7).tolist() == [1]
    assert undominated_llms(cluster_error, 0.75 * cost, 1e-7).tolist() == [0, 1]
    assert undominated_llms(cluster_error, 2 * cost, 1e-7).tolist() == [0]


def test_large_pools_are_pruned_in_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    strength = torch.rand(700, 1, generator=generator)
    cluster_error = (strength + 0.1 * torch.rand(700, 3, generator=generator)).clamp(max=1.0)
    kept = undominated_llms(cluster_error, torch.zeros(700), 1e-7)
    assert sorted(kept.tolist() + dominated(cluster_error, torch.zeros(700), 1e-7)) == list(range(700))
    assert 1 < len(kept) < 100
