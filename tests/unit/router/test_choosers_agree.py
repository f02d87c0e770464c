"""One rule, whoever chooses: the rule itself, routes, envelope, target, profile, deferral curve and graph."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_router import PROMPTS, small_router

from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.export.graph import RoutingGraph
from unirouter_torch.metrics.deferral import deferral_curve
from unirouter_torch.router.calibration import TokenPrices
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.router.profile import COST_WEIGHTS, profile_llm
from unirouter_torch.router.router import Router
from unirouter_torch.routing.cluster_error import ClusterSums
from unirouter_torch.routing.decision import choose_llm, least_total
from unirouter_torch.routing.envelope import Envelope
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.pooled_llm import PooledLLM
from unirouter_torch.routing.target import Target
from unirouter_torch.routing.token_cost import PromptCost

WEIGHTS = (0.0, 0.125, 0.25, 0.5, 1.0, 4.0)


SEEDS = st.integers(0, 1_000_000)


def tied_chooser(seed: int, *, flat: bool = False) -> tuple[Chooser, torch.Tensor, torch.Tensor]:
    """A chooser on dyadic grids, so that all sums are exact and many are equal, with prompts and their lengths."""
    generator = torch.Generator().manual_seed(seed)

    def grid(most: int, *shape: int) -> torch.Tensor:
        return torch.randint(most + 1, shape, generator=generator)

    num_prompts, num_llms, num_clusters = (int(grid(most, 1)) + 1 for most in (7, 6, 2))
    ends = grid(8, num_prompts, num_clusters - 1).sort(1).values
    probability = torch.nn.functional.pad(ends, (0, 1), value=8).diff(dim=1, prepend=ends.new_zeros(num_prompts, 1)) / 8
    tokens = grid(12, num_prompts).double()
    open_to = torch.rand(num_llms, generator=generator) < 0.7
    open_to[grid(num_llms - 1, 1)] = True
    has_context = torch.rand(num_llms, generator=generator) < 0.5
    contexts = [int(grid(12, 1)) + 1 if has else None for has in has_context]
    contexts[int(open_to.nonzero()[0])] = None  # so every prompt has an LLM
    none = ClusterSums(torch.zeros(1, num_clusters), torch.zeros(1, num_clusters))
    llms = [
        PooledLLM(name=f"llm-{n}", cost=0.0, sums=none, is_available=bool(is_open), context_tokens=context)
        for n, (is_open, context) in enumerate(zip(open_to, contexts, strict=True))
    ]
    pool = LLMPool.empty(num_clusters, reference_cost=2.0)
    for llm in sorted(llms, key=lambda llm: not llm.is_available):
        pool = pool.with_llm(llm)
    varying = 0.0 if flat else 1.0
    cost = PromptCost(
        typical=grid(4, num_llms).double() / 2,
        by_cluster=varying * (grid(2, num_llms, num_clusters).double() - 1) / 2,
        by_token=varying * grid(1, num_llms).double() / 4,
        typical_tokens=4.0,
    )
    features = grid(4, num_llms, num_clusters) / 4
    weight = WEIGHTS[seed % len(WEIGHTS)]
    chooser = Chooser(pool=pool, features=features, cost=cost, cost_weight=weight, may_be_chosen=pool.available)
    return chooser, probability, tokens


def enumerated(chooser: Chooser, probability: torch.Tensor, tokens: torch.Tensor) -> list[list[int]]:
    """The rule by its words: all LLMs of each prompt, the best one first."""
    ranked = []
    for p, length in zip(probability.double(), tokens.tolist(), strict=True):
        found = []
        for llm, row in enumerate(chooser.pool.llms):
            if not row.is_available or (row.context_tokens is not None and length > row.context_tokens):
                continue
            cost = chooser.cost.typical[llm] + p @ chooser.cost.by_cluster[llm]
            cost += (length - chooser.cost.typical_tokens) * chooser.cost.by_token[llm]
            total = p @ chooser.features[llm].double() + chooser.cost_weight * cost / chooser.pool.reference_cost
            found.append((float(total), float(chooser.cost.typical[llm]), llm))
        ranked.append([llm for _, _, llm in sorted(found)])
    return ranked


def chosen_on(curve: Envelope, num_prompts: int, weight: float) -> list[int]:
    """Read an envelope at one cost weight."""
    chosen, until = [-1] * num_prompts, math.inf
    for prompt, llm, start, is_best in zip(*(part.tolist() for part in curve), strict=True):
        if start <= weight < until:
            chosen[prompt] = llm
        until = math.inf if is_best else start
    return chosen


@settings(max_examples=200)
@given(SEEDS)
def test_rule_routes_totals_and_envelope_agree_with_the_words_of_the_rule(seed: int) -> None:
    chooser, probability, tokens = tied_chooser(seed)
    names, expected = chooser.pool.names, enumerated(chooser, probability, tokens)
    first = [ranked[0] for ranked in expected]
    assert chooser.choose(probability, tokens).tolist() == first
    assert least_total(chooser.totals(probability, tokens), chooser.order).tolist() == first
    routes = chooser.routes(probability, tokens)
    assert [route.ranking for route in routes] == [[names[llm] for llm in ranked] for ranked in expected]
    curve = chooser.curve(probability, tokens)
    for weight in WEIGHTS:
        at_weight = [ranked[0] for ranked in enumerated(chooser.at(weight), probability, tokens)]
        assert chosen_on(curve, len(tokens), weight) == at_weight


@settings(max_examples=100)
@given(SEEDS)
def test_deferral_curve_and_masked_choices_agree_with_the_rule(seed: int) -> None:
    chooser, probability, tokens = tied_chooser(seed, flat=True)
    may = chooser.totals(probability, tokens).isfinite()
    observed = torch.rand(may.shape, generator=torch.Generator().manual_seed(seed)) < 0.6
    observed[:, int((may.all(0)).nonzero()[0])] = True
    estimated, cost = chooser.estimate_error(probability).double(), chooser.cost.typical / chooser.pool.reference_cost
    curve = deferral_curve(estimated, cost, estimated, observed & may)
    for weight in WEIGHTS:
        chosen = chooser.at(weight).choose(probability, tokens, observed)
        assert chosen.tolist() == choose_llm(estimated, cost, weight, observed & may).tolist()
        point = int((curve.cost_weight <= weight).nonzero()[-1])
        assert float(curve.cost[point]) == pytest.approx(float(cost[chosen].mean()))
        quality = 1 - estimated.gather(1, chosen[:, None]).mean()
        assert float(curve.quality[point]) == pytest.approx(float(quality))


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Router:
    """Twins of every kind: with token prices, latency, a context, and out of service."""
    router = small_router(tmp_path_factory.mktemp("router"))
    lengths = {"p0": 10.0, "p1": 300.0, "p2": 20.0}
    tokens = TokenPrices(price_in=0.01, price_out=0.002, output_tokens=lengths)
    for name in ("metered", "its twin"):
        router.add_llm(name, {"p0": 1.0, "p1": 0.5, "p4": 1.0}, 0.3, tokens=tokens)
    pool = router.pool
    for name in ("small", "large", "metered"):
        pool = pool.with_llm(PooledLLM(**vars(pool[name]) | {"name": f"other {name}"}))
    for place, llm in enumerate(pool.llms):
        pool = pool.with_changes(llm.name, latency=Latency(seconds=0.5 * (place % 2)))
    pool = pool.with_changes("small", context_tokens=4).with_changes("its twin", is_available=False)
    router.pool = pool
    return router


MORE = [*PROMPTS.values(), "the harbour clock sings of a red otter", "red"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"latency_weight": 0.3},
    {"caution": 0.8, "llms": ["small", "other large", "metered", "other metered"]},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_graph_and_router_agree(router: Router, options: dict[str, Any]) -> None:
    chooser = router.chooser(**options)
    graph = RoutingGraph(router.encoder, router.head, chooser).eval()
    names = [name for name, may in zip(router.pool.names, chooser.may_be_chosen, strict=True) if may]
    tokens, lengths = router.encoder.tokenize(MORE), torch.tensor([len(prompt) for prompt in MORE])
    for weight in COST_WEIGHTS:
        with torch.inference_mode():
            _, choice = graph(*tokens.values(), torch.full((len(MORE),), weight), lengths)
        chosen = router.choose(MORE, weight, **options)
        assert [names[column] for column in choice] == chosen
        assert [route.llm for route in router.route(MORE, weight, **options)] == chosen


@pytest.mark.parametrize("options", OPTIONS)
def test_profile_and_router_agree(router: Router, options: dict[str, Any]) -> None:
    texts = list(router.calibration.texts)
    shares = {
        weight: [router.choose(texts, weight, **options).count(name) / len(texts) for name in router.pool.names]
        for weight in COST_WEIGHTS
    }
    among = options.get("llms", [llm.name for llm in router.pool.llms if llm.is_available])
    for name in among:
        row = router.pool.find(name)
        traffic = profile_llm(router, name, **options).traffic
        assert traffic == pytest.approx({weight: shares[weight][row] for weight in COST_WEIGHTS})


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("kind", "value"), [("cost", 0.4), ("quality", 0.6), ("saving", 0.5)])
def test_target_and_router_agree(router: Router, options: dict[str, Any], kind: Any, value: float) -> None:
    chooser = router.chooser(**options)
    found = chooser.tune(router.calibration, Target(kind=kind, value=value))
    probability, tokens = router.calibration.cluster_probability, count_tokens(router.calibration.texts)
    at_weight = chooser.at(found.cost_weight)
    chosen = at_weight.choose(probability, tokens)[:, None]
    assert found.cost == pytest.approx(float(chooser.cost.of_prompts(probability, tokens).gather(1, chosen).mean()))
    assert found.quality == pytest.approx(1 - float(chooser.estimate_error(probability).gather(1, chosen).mean()))


def test_prompt_that_does_not_fit_goes_elsewhere_and_one_that_fits_nowhere_is_refused(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    router.pool = router.pool.with_changes("small", context_tokens=5).with_changes("other", context_tokens=8)
    short, middle, long = "a" * 20, "a" * 21, "a" * 33
    assert router.choose([short, middle, long], 1e6) == ["small", "other", "large"]
    (route,) = router.route([middle], 1e6)
    assert list(route.total) == ["other", "large"] and route.ranking == ["other", "large"]
    assert set(route.cost) == {"small", "large", "other"}, "what is known of all is shown"
    with pytest.raises(Exception, match=r"prompts: number 2 has about 8 tokens, more than the 5 that"):
        router.route([short, long], llms=["small"])
    router.pool = router.pool.with_changes("large", context_tokens=8)
    assert router.choose([short], 1e6) == ["small"]
    graph = RoutingGraph(router.encoder, router.head, router.chooser()).eval()
    tokens, lengths = router.encoder.tokenize([short, middle, long]), torch.tensor([20, 21, 33])
    with torch.inference_mode():
        _, choice = graph(*tokens.values(), torch.full((3,), 1e6), lengths)
    assert choice.tolist() == [0, 2, -1]
