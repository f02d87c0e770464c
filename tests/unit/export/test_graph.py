import pytest
import tiny_encoder
import torch
from small_router import small_router
from tiny_encoder import (
    PROMPTS,
    save_bert,
    save_modernbert,
    save_qwen2,
    save_roberta,
    save_static,
    save_static_with_form,
)

from unirouter_torch.export.graph import RoutingGraph, bytes_of, trace
from unirouter_torch.router.router import Router

COST_WEIGHTS = [0.0, 0.1, 1.0]


def graph_of(router: Router) -> RoutingGraph:
    return RoutingGraph(router.encoder, router.head, router.chooser())


def run(graph, router: Router, prompts: list[str], cost_weight: float) -> tuple[torch.Tensor, list[str]]:
    tokens, beside = router.encoder.tokenize(prompts), bytes_of(router.encoder, prompts)
    with torch.inference_mode():
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        estimated, choice = graph(*tokens.values(), torch.full((len(prompts),), cost_weight), lengths, *beside)
    return estimated, [router.pool.names[column] for column in choice]


def routes(router: Router, prompts: list[str], cost_weight: float) -> list[str]:
    return [route.llm for route in router.route(prompts, cost_weight)]


@pytest.mark.parametrize(
    ("save", "pooling"),
    [
        (save_bert, "pooling_mode_mean_tokens"),
        (save_roberta, "pooling_mode_max_tokens"),
        (save_modernbert, "pooling_mode_cls_token"),
        (save_qwen2, "pooling_mode_lasttoken"),
        (save_static, ""),
        (save_static_with_form, ""),
    ],
)
def test_traced_program_routes_any_number_of_prompts_and_tokens(tmp_path, save, pooling: str) -> None:
    router = small_router(tmp_path, save_encoder=save, pooling=pooling)
    program = trace(graph_of(router)).module()
    for prompts in (PROMPTS, PROMPTS[1:2], PROMPTS[-1:]):
        for cost_weight in COST_WEIGHTS:
            estimated, chosen = run(program, router, prompts, cost_weight)
            torch.testing.assert_close(estimated, router.estimate_error(prompts), rtol=0, atol=1e-5)
            assert chosen == routes(router, prompts, cost_weight)


def test_prompts_of_one_batch_may_have_different_cost_weights(tmp_path) -> None:
    router = small_router(tmp_path)
    prompts = ["a"] * 3
    tokens = router.encoder.tokenize(prompts)
    _, choice = graph_of(router)(*tokens.values(), torch.tensor([0.0, 0.1, 100.0]), torch.ones(3).long())
    expected = [routes(router, ["a"], cost_weight)[0] for cost_weight in (0.0, 0.1, 100.0)]
    assert [router.pool.names[column] for column in choice] == expected
    assert expected[0] != expected[2]


def test_equal_totals_go_to_the_cheaper_llm_even_where_float32_cannot_tell_the_costs_apart(tmp_path) -> None:
    router = small_router(tmp_path)
    for name, cost in (("small", 1.0 + 1e-12), ("large", 1.0 + 2e-12), ("other", 1.0)):
        router.pool = router.pool.with_changes(name, sums=router.pool["small"].sums, cost=cost)
    _, chosen = run(trace(graph_of(router)).module(), router, PROMPTS, 0.0)
    assert set(chosen) == {"other"}


def test_program_does_not_say_where_the_code_lay(tmp_path) -> None:
    torch.export.save(trace(graph_of(small_router(tmp_path))), tmp_path / "program.pt2")
    content = (tmp_path / "program.pt2").read_bytes()
    for place in (tiny_encoder.__file__, torch.__path__[0], str(tmp_path)):
        assert place.rpartition("/")[0].encode() not in content
