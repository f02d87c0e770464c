from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_router import COST, PROMPTS, SCORES, small_router

from unirouter_torch.errors import PoolError
from unirouter_torch.router.profile import profile_llm
from unirouter_torch.router.router import Router
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.target import Target

NUM_PROMPTS = 5


@pytest.fixture
def router(tmp_path: Path) -> Router:
    return small_router(tmp_path)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("disabled", [None, "small", "other"])
def test_traffic_is_what_the_router_does_on_the_calibration_prompts(router: Router, name: str, disabled: str) -> None:
    if disabled is not None:
        router.pool = router.pool.with_changes(disabled, is_available=False)
    profile = profile_llm(router, name)
    router.pool = router.pool.with_changes(name, is_available=True)
    for weight, share in profile.traffic.items():
        chosen = [route.llm for route in router.route(list(PROMPTS.values()), cost_weight=weight)]
        assert share == pytest.approx(chosen.count(name) / NUM_PROMPTS)
    assert profile.is_available == (name != disabled)


@pytest.mark.parametrize("name", SCORES)
def test_traffic_begins_and_ends_where_it_says(router: Router, name: str) -> None:
    profile = profile_llm(router, name)

    def takes(weight: float) -> bool:
        return any(route.llm == name for route in router.route(list(PROMPTS.values()), cost_weight=weight))

    if profile.takes_from is None:
        assert not any(takes(weight / 50) for weight in range(200))
        return
    assert takes(profile.takes_from + 1e-4)
    assert profile.takes_from == 0 or not takes(profile.takes_from - 1e-4)
    if profile.takes_to is None:
        assert takes(1e4)
    else:
        assert takes(profile.takes_to - 1e-4) and not takes(profile.takes_to + 1e-4)


def test_disabled_llm_without_latency_has_no_traffic_where_latency_counts(router: Router) -> None:
    for name in ("small", "large"):
        router.pool = router.pool.with_changes(name, latency=Latency(seconds=1.0))
    router.pool = router.pool.with_changes("other", is_available=False)
    router.pool = replace(router.pool, target=Target(kind="quality", value=0.5, latency_weight=0.1))
    profile = profile_llm(router, "other")
    assert (profile.traffic, profile.takes_from, profile.takes_to) == ({}, None, None)
    assert profile_llm(router, "other", latency_weight=0.0).traffic
    assert profile_llm(router, "small").traffic


def test_equal_llms_of_equal_cost_leave_the_traffic_to_the_first(router: Router) -> None:
    router.add_llm("twin", SCORES["small"], COST["small"])
    assert profile_llm(router, "small").traffic[100.0] == 1.0
    twin = profile_llm(router, "twin")
    assert set(twin.traffic.values()) == {0.0} and twin.takes_from is None
    assert next(iter(twin.relatives.items())) == ("small", pytest.approx(0.0))


def test_distance_of_relatives_is_weighted_by_the_share_of_the_clusters(router: Router) -> None:
    with torch.no_grad():
        features = router.head.cluster_error(router.pool.sums)
    probability = router.calibration.cluster_probability
    expected = sum(probability[:, k].mean() * (features[0, k] - features[1, k]) ** 2 for k in range(3)) ** 0.5
    relatives = profile_llm(router, "small").relatives
    assert relatives["large"] == pytest.approx(float(expected), rel=1e-5)
    assert list(relatives.values()) == sorted(relatives.values())


def test_clusters_are_those_of_the_router_from_the_strongest_to_the_weakest(router: Router) -> None:
    profile = profile_llm(router, "large")
    with torch.no_grad():
        features = router.head.cluster_error(router.pool.sums)
    lead = [one.error - one.pool_error for one in profile.clusters]
    assert lead == sorted(lead)
    for one in profile.clusters:
        probability = router.calibration.cluster_probability[:, one.cluster]
        assert one.error == pytest.approx(float(features[1, one.cluster]))
        assert one.interval[0] < one.error < one.interval[1]
        assert one.examples[0] == list(PROMPTS.values())[int(probability.argmax())]
        assert one.outcomes == pytest.approx(float(router.pool.sums.weight[1, one.cluster]))
    assert sum(one.share for one in profile.clusters) == pytest.approx(1.0)


def test_facts_of_the_llm_are_told(router: Router) -> None:
    profile = profile_llm(router, "large")
    assert (profile.cost, profile.outcomes) == (2.0, pytest.approx(4.0))
    assert profile.error == pytest.approx(0.125)
    with pytest.raises(PoolError, match="no LLM named 'nobody'"):
        profile_llm(router, "nobody")


def test_pool_of_one_has_no_relatives_and_takes_everything(router: Router) -> None:
    router.pool = router.pool.select(["large"])
    profile = profile_llm(router, "large")
    assert profile.relatives == {} and set(profile.traffic.values()) == {1.0}
    assert (profile.takes_from, profile.takes_to) == (0.0, None)
    assert torch.tensor([one.error - one.pool_error for one in profile.clusters]).abs().max() == 0
