import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.errors import PoolError
from unirouter_torch.routing.decision import choose_llms, least_total, order_by_cost
from unirouter_torch.routing.target import Target, Tuned, tune_cost_weight

ERROR = torch.tensor([[0.1, 0.5], [0.2, 0.3], [0.4, 0.4], [0.0, 0.9]])
COST = torch.tensor([[4.0, 1.0], [6.0, 1.0], [4.0, 2.0], [4.0, 1.0]])
# the second LLM takes over at cost weights 0.1333, 0.02, 0 and 0.3 per unit of cost


def tuned(kind: str, value: float, reference_cost: float = 1.0) -> Tuned:
    return tune_cost_weight(ERROR, COST, reference_cost, Target(kind=kind, value=value))


def test_quality_is_reached_at_the_least_cost() -> None:
    found = tuned("quality", 0.79)
    assert found.is_reached and found.quality == pytest.approx(1 - (0.1 + 0.3 + 0.4 + 0.0) / 4)
    assert found.cost == pytest.approx((4 + 1 + 2 + 4) / 4)
    assert 0.02 < found.cost_weight <= 0.4 / 3 + 1e-6


def test_cost_is_kept_at_the_best_quality() -> None:
    found = tuned("cost", 3.0)
    assert found.cost == pytest.approx(2.75) and found.quality == pytest.approx(0.8)
    assert found.cost_weight == pytest.approx(0.02, abs=1e-6)


def test_saving_is_against_the_best_single_llm() -> None:
    best = (4 + 6 + 4 + 4) / 4
    assert tuned("saving", 0.3) == tuned("cost", 0.7 * best)


def test_reference_cost_scales_the_weight_alone() -> None:
    plain, scaled = tuned("cost", 3.0), tuned("cost", 3.0, reference_cost=5.0)
    assert scaled.cost_weight == pytest.approx(5 * plain.cost_weight, rel=1e-6)
    assert scaled[1:] == plain[1:]


@pytest.mark.parametrize(
    ("kind", "value", "cost", "quality"),
    [("quality", 0.99, None, 1 - 0.7 / 4), ("cost", 0.5, 5 / 4, None), ("saving", 0.99, 5 / 4, None)],
)
def test_what_is_out_of_reach_gives_the_nearest_and_says_so(kind: str, value: float, cost, quality) -> None:
    found = tuned(kind, value)
    assert not found.is_reached
    assert cost is None or found.cost == pytest.approx(cost)
    assert quality is None or found.quality == pytest.approx(quality)


def test_what_costs_nothing_to_reach_needs_no_or_any_weight() -> None:
    assert tuned("cost", 100.0).cost_weight == 0
    everything = tuned("quality", 0.0)
    assert everything.is_reached and everything.cost == pytest.approx(5 / 4)


@given(st.integers(0, 10_000), st.sampled_from(["cost", "quality", "saving"]), st.floats(0.01, 0.99))
def test_no_cost_weight_of_a_grid_does_better(seed: int, kind: str, value: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    error, cost = (torch.rand(15, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    found = tune_cost_weight(error, cost, 1.0, Target(kind=kind, value=value))
    limit = (1 - value) * cost[:, error.mean(0).argmin()].mean() if kind == "saving" else value
    for weight in torch.linspace(0, 5, 60).tolist():
        chosen = least_total(error + weight * cost, order_by_cost(cost.mean(0)))[:, None]
        mean_cost, quality = cost.gather(1, chosen).mean(), 1 - error.gather(1, chosen).mean()
        if kind == "quality" and quality >= limit:
            assert found.is_reached and found.cost <= mean_cost + 1e-9
        if kind != "quality" and mean_cost <= limit:
            assert found.is_reached and found.quality >= quality - 1e-9


@pytest.mark.parametrize("kind", ["cost", "quality", "saving"])
def test_of_two_equal_llms_the_cheaper_one_counts_wherever_it_stands(kind: str) -> None:
    error = torch.tensor([[0.1, 0.1, 0.5], [0.2, 0.2, 0.3]])
    for order in ([0, 1, 2], [1, 0, 2], [2, 0, 1], [2, 1, 0]):
        cost = torch.tensor([[8.0, 2.0, 1.0]]).expand(2, 3)[:, order]
        value = {"cost": 9.0, "quality": 0.85, "saving": 0.0}[kind]
        found = tune_cost_weight(error[:, order], cost, 1.0, Target(kind=kind, value=value))
        assert (found.cost, found.quality) == (pytest.approx(2.0), pytest.approx(0.85))


@given(st.integers(0, 10_000), st.sampled_from(["cost", "quality", "saving"]), st.floats(0.01, 0.6))
def test_routing_by_the_cost_weight_gives_what_was_promised(seed: int, kind: str, value: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    probability = torch.rand(20, 3, generator=generator).softmax(-1)
    cluster_error, cost = torch.rand(5, 3, generator=generator), torch.rand(5, generator=generator, dtype=torch.float64)
    error = probability @ cluster_error.T
    found = tune_cost_weight(error, cost.expand(20, 5), 1.0, Target(kind=kind, value=value))
    chosen = choose_llms(probability, cluster_error, cost, found.cost_weight)
    assert found.cost == pytest.approx(float(cost[chosen].mean()), rel=1e-9)
    assert found.quality == pytest.approx(1 - float(error[torch.arange(20), chosen].double().mean()), rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("cost", -1.0),
        ("cost", float("inf")),
        ("quality", 1.1),
        ("quality", float("nan")),
        ("saving", 1.0),
    ],
)
def test_targets_that_make_no_sense_are_refused(kind: str, value: float) -> None:
    with pytest.raises(PoolError, match="target"):
        Target(kind=kind, value=value)
