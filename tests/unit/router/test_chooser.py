"""Cautious choices, and choices that count latency."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_router import PROMPTS, small_router

from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.errors import PoolError
from unirouter_torch.router import chooser
from unirouter_torch.router.calibration import TokenPrices
from unirouter_torch.router.chooser import Chooser, cautious_errors
from unirouter_torch.router.route import Route
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.target import Target


@torch.inference_mode()
def test_less_known_llm_is_taken_for_a_worse_one_the_more_caution_is_asked_for(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    every = dict.fromkeys(PROMPTS, 1.0)
    router.add_llm("known", every, 0.0)
    router.pool = router.pool.select(["known"])
    router.add_llm("lucky", {"p0": 1.0}, 0.0)
    mean = router.head.cluster_error(router.pool.sums)
    bound, higher = (cautious_errors(router.head, router.pool, caution) for caution in (0.9, 0.99))
    assert (mean <= bound).all() and (mean < higher).all() and (bound < higher).all()
    added = bound - mean
    assert (added[1] > added[0]).all()


def test_route_estimates_and_chooses_by_the_bound(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    prompts = list(PROMPTS.values())
    for route, plain in zip(router.route(prompts, 0.0, caution=0.9), router.route(prompts, 0.0), strict=True):
        assert all(route.estimated_error[name] >= plain.estimated_error[name] for name in router.pool.names)
        assert route.estimated_error != plain.estimated_error
        assert route.estimated_error[route.llm] == pytest.approx(min(route.estimated_error.values()), abs=1e-5)


@torch.inference_mode()
def test_large_pool_has_the_bounds_of_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    router = small_router(tmp_path)
    whole = cautious_errors(router.head, router.pool, 0.8)
    monkeypatch.setattr(chooser, "_LLMS_AT_ONCE", 2)
    torch.testing.assert_close(cautious_errors(router.head, router.pool, 0.8), whole)


@pytest.mark.parametrize("caution", [0.0, 0.4, 1.0, float("nan")])
def test_caution_that_is_no_upper_bound_is_refused(tmp_path: Path, caution: float) -> None:
    with pytest.raises(PoolError, match="caution"):
        small_router(tmp_path).route(["the otter"], caution=caution)


def test_target_of_an_empty_pool_is_refused(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    target = Target(kind="saving", value=0.5)
    with pytest.raises(PoolError, match="pool: empty"):
        Chooser.of(router.head, router.calibration, LLMPool.empty(router.head.num_clusters)).tune(
            router.calibration, target
        )


def test_seconds_add_to_the_cost_by_their_weight_and_by_the_expected_length_of_the_answer(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    lengths = {"p0": 10.0, "p1": 300.0, "p2": 20.0}
    tokens = TokenPrices(price_in=0.01, price_out=0.002, output_tokens=lengths)
    router.add_llm("new", dict.fromkeys(PROMPTS, 1.0), 0.3, tokens=tokens)
    for name, seconds in (("small", 2.0), ("large", 0.5), ("other", 0.0), ("new", 1.0)):
        router.pool = router.pool.with_changes(name, latency=Latency(seconds=seconds))
    router.pool = router.pool.with_changes("new", latency=Latency(seconds=1.0, seconds_per_token=0.05))
    prompts = [*PROMPTS.values(), "the otter"]
    with torch.inference_mode():
        probability = router.head(router.encoder.embed(prompts)).double()
    answers = router.pool["new"].token_cost.output_tokens(float(router.head.shrinkage.detach())).double()
    plain, counted = router.route(prompts, 0.2), router.route(prompts, 0.2, latency_weight=0.4)
    for row, (before, after) in enumerate(zip(plain, counted, strict=True)):
        tokens_of_answer = float(probability[row] @ answers)
        seconds = {"small": 2.0, "large": 0.5, "other": 0.0, "new": 1.0 + 0.05 * tokens_of_answer}
        assert after.cost == pytest.approx(
            {name: before.cost[name] + 0.4 * seconds[name] for name in seconds}, rel=1e-5
        )
        total = {name: after.estimated_error[name] + 0.2 * after.cost[name] / 2.0 for name in seconds}
        assert total[after.llm] == pytest.approx(min(total.values()), abs=1e-5)
    assert [route.llm for route in counted] == router.choose(prompts, 0.2, latency_weight=0.4)
    assert {route.llm for route in router.route(prompts, 5.0, latency_weight=100.0)} == {"other"}


def test_latency_that_counts_must_be_known_of_all_that_may_be_chosen(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    for name, seconds in (("small", 3.0), ("other", 1.0)):
        router.pool = router.pool.with_changes(name, latency=Latency(seconds=seconds))
    with pytest.raises(PoolError, match=r"latency of 'large': not known.*reprice --latency"):
        router.chooser(latency_weight=0.1)
    router.pool = router.pool.with_changes("large", is_available=False)
    assert router.chooser(latency_weight=0.1).cost.typical.tolist() == pytest.approx([0.1 + 0.3, 2.0, 0.5 + 0.1])


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_latency_weight_out_of_range_is_refused(tmp_path: Path, weight: float) -> None:
    with pytest.raises(PoolError, match="latency_weight"):
        small_router(tmp_path).chooser(latency_weight=weight)


@pytest.mark.parametrize("weight", [0.0, 0.2, 5.0])
def test_choice_among_some_llms_is_that_of_a_pool_without_the_others(tmp_path: Path, weight: float) -> None:
    router = small_router(tmp_path)
    prompts = list(PROMPTS.values())
    among = router.route(prompts, weight, llms=["other", "small"])
    plain = router.route(prompts, weight)
    router.pool = router.pool.without_llm("large")
    for one, whole, expected in zip(among, plain, router.route(prompts, weight), strict=True):
        assert one.llm == expected.llm
        assert (one.estimated_error, one.cost) == (whole.estimated_error, whole.cost), "what is known of all is shown"


def test_choice_among_some_llms_keeps_the_cost_weight_of_the_target_for_all(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    router.pool = replace(router.pool, target=Target(kind="saving", value=0.3))
    prompts = list(PROMPTS.values())
    by_target = router.route(prompts, llms=["small", "other"])
    assert by_target == router.route(prompts, router.cost_weight, llms=["small", "other"])


def test_choice_among_no_llm_or_unknown_ones_is_refused(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    router.pool = router.pool.with_changes("small", is_available=False)
    with pytest.raises(PoolError, match="no LLM named 'smal'; it holds small"):
        router.route(["the otter"], llms=["large", "smal"])
    for llms in ([], ["small"]):
        with pytest.raises(PoolError, match=r"llms: none of .* may be chosen"):
            router.route(["the otter"], llms=llms)


def test_prompts_that_are_clustered_already_get_the_same_routes(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    prompts = list(PROMPTS.values())
    probability, tokens = router.cluster(prompts), count_tokens(prompts)
    of_small = router.chooser(0.3, llms=["small"])
    assert of_small.routes(probability, tokens) == router.route(prompts, 0.3, llms=["small"])
    assert router.chooser().routes(probability, tokens) == router.route(prompts)


def test_ranking_puts_the_chosen_llm_first_and_the_cheaper_of_equals_before_the_more_expensive() -> None:
    total = {"worst": 1.0, "cheap": 0.75, "expensive": 0.75 - 1e-6, "best": 0.5, "chosen": 0.5}
    route = Route(llm="chosen", estimated_error={}, cost={}, total=total)
    assert route.ranking == ["chosen", "best", "cheap", "expensive", "worst"]


@torch.no_grad()
def test_change_of_the_head_in_place_takes_effect_at_the_next_choice(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    router.pool = replace(router.pool, target=Target(kind="quality", value=0.7))
    prompts = list(PROMPTS.values())
    for tensor in (router.head.log_shrinkage, router.head.difficulty):
        before = router.route(prompts, caution=0.9)
        tensor.data += torch.linspace(1.0, 2.0, tensor.numel()).view_as(tensor)
        fresh = Chooser.of(router.head, router.calibration, router.pool, caution=0.9)
        expected = fresh.routes(router.cluster(prompts), count_tokens(prompts))
        assert router.route(prompts, caution=0.9) == expected != before


def test_each_chooser_is_made_once_and_not_all_are_kept(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    assert router.chooser(0.1).features is router.chooser(0.3, llms=["small"]).features
    for number in range(200):
        router.chooser(caution=0.5 + number / 1000)
    assert len(router._choosers._kept) <= 64


def test_conversation_becomes_text_once(tmp_path: Path) -> None:
    router, inner = small_router(tmp_path), '[{"role": "user", "content": "red"}]'
    chat = [{"role": "user", "content": inner}]
    (text,) = router.texts([chat])
    assert text == inner
    expected = router.chooser().routes(router.head(router.encoder.embed([inner])).detach(), count_tokens([inner]))
    assert router.route([chat]) == expected
    assert router.choose([chat]) == [expected[0].llm]
