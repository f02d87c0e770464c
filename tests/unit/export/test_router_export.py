import dataclasses
import json
from pathlib import Path

import pytest
from doc_programs import export_program
from small_router import PROMPTS, small_router, with_all_kinds_of_llms, with_far_clusters, with_latencies
from tiny_encoder import save_bert, save_static_with_form

from unirouter_torch.config.router import KeptPart
from unirouter_torch.errors import ConfigError
from unirouter_torch.export.router_export import ExportFormat, export_router
from unirouter_torch.router.router import Router

MORE = [*PROMPTS.values(), "red", "the harbour clock sings of a red otter and of a kite, again and again, " * 3]


@pytest.fixture(params=[save_bert, save_static_with_form])
def router(tmp_path: Path, request: pytest.FixtureRequest) -> Router:
    router = small_router(tmp_path, save_encoder=request.param)
    for change in (with_far_clusters, with_all_kinds_of_llms, with_latencies):
        change(router)
    return router


@pytest.mark.parametrize("export_format", ["torch", "onnx"])
def test_export_chooses_as_the_router_in_the_program_of_the_page(
    router: Router, tmp_path: Path, export_format: ExportFormat
) -> None:
    options = {"latency_weight": 0.0, "caution": 0.8} if export_format == "torch" else {}
    for name in router.pool.names:
        router.pool = router.pool.with_changes(name, context_tokens=router.pool[name].context_tokens or 60)
    written = export_router(router, export_format, tmp_path / "out", **options)
    assert written.left_out == ("other",)
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["latency_weight"] == options.get("latency_weight", 0.3)
    left_in = [name for name in router.pool.names if name != "other"]
    assert about["llms"] == left_in and about["left_out"] == ["other"]
    program = export_program(export_format, tmp_path / "out")
    given = next(line for line in program.splitlines() if line.startswith("prompts, cost_weight = "))
    program = program.replace(given, "prompts, cost_weight = PROMPTS, WEIGHT")
    taken = set()
    for cost_weight in (0.0, 0.1, 3.0):
        found = {"WEIGHT": cost_weight, "PROMPTS": [*MORE, "a" * 300]}
        exec(program, found)
        assert found["llms"] == [*router.choose(MORE, cost_weight, **options), None]
        taken.update(found["llms"])
    assert taken >= {"small", "metered", "by answer", "cheaper twin"}


def test_encoder_alone_leaves_no_llm_out(router: Router, tmp_path: Path) -> None:
    assert export_router(router, "sentence-transformers", tmp_path / "out").left_out == ()


@pytest.mark.parametrize(("keep", "export_format"), [("head_and_tail", "torch"), ("tail", "sentence-transformers")])
def test_router_that_cuts_as_no_file_can_say_is_not_exported(
    tmp_path: Path, keep: KeptPart, export_format: ExportFormat
) -> None:
    router = small_router(tmp_path)
    router.encoder.recipe = dataclasses.replace(router.encoder.recipe, keep=keep)
    with pytest.raises(ConfigError, match=rf"encoder\.keep: this router keeps the {keep} .* expected head"):
        export_router(router, export_format, tmp_path / "out")
