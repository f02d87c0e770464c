import dataclasses

import pytest
import torch
from small_router import small_router

from unirouter_torch.errors import ArtifactError
from unirouter_torch.export.check import EXACT, ROUNDED, compare
from unirouter_torch.export.graph import RoutingGraph
from unirouter_torch.router.calibration import TokenPrices
from unirouter_torch.router.router import Router


@pytest.fixture
def router(tmp_path) -> Router:
    router = small_router(tmp_path)
    texts = tuple(f"{word} {number}" for word in ("kites", "otter", "clock") for number in range(20))
    probability = torch.full((len(texts), 3), 1 / 3)
    router.calibration = dataclasses.replace(
        router.calibration, prompt_ids=texts, texts=texts, cluster_probability=probability
    )
    return router


def tokens_of(router: Router):
    return lambda texts: tuple(router.encoder.tokenize(texts).values())


def test_router_beside_its_own_graph_does_not_differ(router: Router) -> None:
    found = compare(
        router, router.chooser(), tokens_of(router), RoutingGraph(router.encoder, router.head, router.chooser())
    )
    assert found.num_prompts == 60
    assert found.largest_difference < 1e-6
    assert found.changed_choices == 0
    found.check(EXACT)


def test_wrong_estimates_are_refused(router: Router) -> None:
    graph = RoutingGraph(router.encoder, router.head, router.chooser())

    def shifted(*inputs: torch.Tensor):
        estimated, choice = graph(*inputs)
        return estimated + torch.tensor([0.0, 0.002, 0.0]), choice

    found = compare(router, router.chooser(), tokens_of(router), shifted)
    assert found.largest_difference == pytest.approx(0.002, abs=1e-5)
    with pytest.raises(ArtifactError, match=r"by up to 0\.002"):
        found.check(EXACT)
    found.check(ROUNDED)


@pytest.mark.parametrize("tolerance", [EXACT, ROUNDED])
def test_wrong_choices_are_refused_where_the_estimates_are_right(router: Router, tolerance) -> None:
    graph = RoutingGraph(router.encoder, router.head, router.chooser())

    def the_dearest(*inputs: torch.Tensor):
        estimated, choice = graph(*inputs)
        return estimated, torch.where(inputs[2] > 0, router.pool.names.index("large"), choice)

    found = compare(router, router.chooser(), tokens_of(router), the_dearest)
    assert 0.1 < found.changed_choices < 0.7
    assert found.mean_added_total > 0
    with pytest.raises(ArtifactError, match="another LLM chosen"):
        found.check(tolerance)


@pytest.mark.parametrize(
    ("forgotten", "price_in", "price_out"), [("cost_by_token", 0.06, 0.0), ("cost_by_cluster", 0.0, 2.0)]
)
def test_choices_by_mean_costs_are_other_ones_where_costs_depend_on_the_prompt(
    router: Router, forgotten: str, price_in: float, price_out: float
) -> None:
    texts = ("clock", *(f"{'otter ' * number}kite" for number in range(40)))
    probability = torch.eye(3)[torch.arange(len(texts)) % 3]
    router.calibration = dataclasses.replace(
        router.calibration, prompt_ids=texts, texts=texts, cluster_probability=probability
    )
    lengths = {text: float(place % 3 == 1) for place, text in enumerate(texts)}
    tokens = TokenPrices(price_in=price_in, price_out=price_out, output_tokens=lengths)
    router.add_llm("new", dict.fromkeys(texts, 1.0), 0.0, tokens=tokens)
    graph = RoutingGraph(router.encoder, router.head, router.chooser())
    assert compare(router, router.chooser(), tokens_of(router), graph).changed_choices == 0
    getattr(graph, forgotten).zero_()
    assert compare(router, router.chooser(), tokens_of(router), graph).changed_choices > 0


def test_another_llm_of_the_same_total_is_no_other_choice(router: Router) -> None:
    one = router.pool.select(["small"])
    router.pool = one.with_llm(dataclasses.replace(one["small"], name="twin"))
    graph = RoutingGraph(router.encoder, router.head, router.chooser())

    def other(*inputs: torch.Tensor):
        estimated, choice = graph(*inputs)
        return estimated, 1 - choice

    assert compare(router, router.chooser(), tokens_of(router), other).changed_choices == 0
