import json
from pathlib import Path

import pytest
import torch
from small_router import COST, PROMPTS, SCORES, small_router
from tiny_encoder import save_bert, save_static_with_form

from unirouter_torch.export.graph import bytes_of
from unirouter_torch.export.onnx_file import ONNX_FILE, open_onnx
from unirouter_torch.export.router_export import PROGRAM_FILE, ExportFormat, export_router
from unirouter_torch.router.calibration import TokenPrices
from unirouter_torch.router.router import Router
from unirouter_torch.routing.latency import Latency

MORE = [*PROMPTS.values(), "red", "the harbour clock sings of a red otter and of a kite, again and again, " * 3]


@pytest.fixture(params=[save_bert, save_static_with_form])
def router(tmp_path: Path, request: pytest.FixtureRequest) -> Router:
    """Far clusters; a disabled LLM, and one paid by the token alone, so dear that prompts part by their length."""
    router = small_router(tmp_path, save_encoder=request.param)
    with torch.no_grad():
        router.head.linear.weight.mul_(8)
    router.head.split_far(router.encoder.embed(list(PROMPTS.values())))
    router.calibrate(PROMPTS, SCORES, COST)
    lengths = {"p0": 1.0, "p1": 2.0, "p2": 40.0, "p3": 20.0, "p4": 90.0}
    for name, price_in, price_out in (("metered", 0.1, 0.002), ("by answer", 0.0, 0.02)):
        tokens = TokenPrices(price_in=price_in, price_out=price_out, output_tokens=lengths)
        router.add_llm(name, dict.fromkeys(PROMPTS, 0.9), 0.0, tokens=tokens)
    for name, seconds in (("small", 0.2), ("large", 0.1), ("metered", 0.3), ("by answer", 0.1)):
        router.pool = router.pool.with_changes(name, latency=Latency(seconds=seconds))
    router.pool = router.pool.with_changes("other", is_available=False)
    return router


@pytest.mark.parametrize(("export_format", "latency_weight"), [("torch", 0.0), ("onnx", 0.3)])
def test_export_chooses_as_the_router_by_the_length_and_the_clusters_of_a_prompt(
    router: Router, tmp_path: Path, export_format: ExportFormat, latency_weight: float
) -> None:
    options = {"latency_weight": latency_weight} | ({"caution": 0.8} if latency_weight else {})
    written = export_router(router, export_format, tmp_path / "out", **options)
    assert written.left_out == ("other",)
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["latency_weight"] == latency_weight
    assert about["llms"] == ["small", "large", "metered", "by answer"] and about["left_out"] == ["other"]
    assert (tmp_path / "out" / (ONNX_FILE if export_format == "onnx" else PROGRAM_FILE)).exists()
    run = (
        open_onnx(tmp_path / "out")
        if export_format == "onnx"
        else torch.export.load(tmp_path / "out" / PROGRAM_FILE).module()
    )
    tokens, lengths = router.encoder.tokenize(MORE), torch.tensor([len(prompt) for prompt in MORE])
    taken = set()
    for cost_weight in (0.0, 0.1, 0.7, 1.0, 3.0):
        with torch.inference_mode():
            weight, beside = torch.full((len(MORE),), cost_weight), bytes_of(router.encoder, MORE)
            _, choice = run(*tokens.values(), weight, lengths, *beside)
        chosen = [about["llms"][column] for column in choice]
        assert chosen == router.choose(MORE, cost_weight, **options)
        taken.update(chosen)
    assert taken >= {"small", "metered", "by answer"}


def test_encoder_alone_leaves_no_llm_out(router: Router, tmp_path: Path) -> None:
    assert export_router(router, "sentence-transformers", tmp_path / "out").left_out == ()
