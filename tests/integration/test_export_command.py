"""The export command, and the programs of its page that use what it writes."""

import json
from pathlib import Path

import numpy as np
import pytest
from doc_programs import export_program

from unirouter_torch import Router
from unirouter_torch.cli import main
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.experiments.run import RunResult
from unirouter_torch.export import check, router_export

PROMPTS = ["What is 17 + 25?", "Write a haiku about the sea."]


@pytest.fixture(scope="module")
def folder(config: TrainConfig, result: RunResult) -> Path:
    assert result.router.pool.names
    return Path(config.output_dir) / "router"


def export(folder: Path, export_format: str, output: Path, *more: str) -> int:
    return main(["export", "--router", str(folder), "--format", export_format, "--output", str(output), *more])


@pytest.mark.parametrize("export_format", ["onnx", "torch"])
def test_export_routes_without_this_package_as_the_page_says(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], export_format: str
) -> None:
    assert export(folder, export_format, tmp_path / "out") == 0
    assert "0.0% of the choices are other ones" in capsys.readouterr().out
    found: dict[str, object] = {}
    exec(export_program(export_format, tmp_path / "out"), found)
    router = Router.from_pretrained(folder)
    routes = router.route(PROMPTS, cost_weight=0.1)
    assert found["llms"] == [route.llm for route in routes]
    estimated = np.array([list(route.estimated_error.values()) for route in routes])
    np.testing.assert_allclose(np.asarray(found["estimated_error"]), estimated, atol=1e-5)
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["llms"] == list(router.pool.names)
    assert about["reference_cost"] == router.pool.reference_cost
    assert about["check"]["num_prompts"] == len(router.calibration.texts)


def test_encoder_alone_loads_in_sentence_transformers_as_the_page_says(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the page's program needs sentence-transformers")
    assert export(folder, "sentence-transformers", tmp_path / "out") == 0
    found: dict[str, object] = {}
    exec(export_program("sentence-transformers", tmp_path / "out"), found)
    expected = Router.from_pretrained(folder).encoder.embed(PROMPTS[:1])
    np.testing.assert_allclose(np.asarray(found["embedding"]), expected.numpy(), atol=1e-5)


def test_export_that_differs_leaves_nothing_behind(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_export, "EXACT", check.Tolerance(difference=-1.0, changed=0.0))
    assert export(folder, "sentence-transformers", tmp_path / "out") == 2
    message = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(message) == 1 and "ArtifactError" in message[0] and "Nothing was written" in message[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("router", "export_format", "more", "message"),
    [
        ("unirouter-minilm", "torch", [], "unirouter adopt"),
        ("FOLDER", "torch", ["--int8"], "only onnx has 8-bit weights"),
        ("no/such/folder", "torch", [], "no such folder"),
        ("FOLDER", "torch", ["--output", "TAKEN"], "refusing to replace it"),
    ],
)
def test_mistakes_give_one_message_and_code_2(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    router: str,
    export_format: str,
    more: list[str],
    message: str,
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("mine")
    places = {"FOLDER": str(folder), "TAKEN": str(tmp_path / "taken")}
    more = [places.get(argument, argument) for argument in more]
    assert export(Path(places.get(router, router)), export_format, tmp_path / "out", *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
