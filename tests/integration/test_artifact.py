"""The router folder and the command that uses it."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch

from unirouter_torch import Router
from unirouter_torch.cli import main
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ArtifactError, PoolError
from unirouter_torch.experiments.run import RunResult

PROMPTS = ["What is 17 plus 25?", "Write a poem about otters.", "kites " * 50]


@pytest.fixture
def folder(config: TrainConfig, result: RunResult) -> Path:
    return Path(config.output_dir) / "router"


@pytest.fixture
def router(folder: Path) -> Router:
    return Router.from_pretrained(folder)


def test_loaded_router_estimates_and_routes_as_the_trained_one(router: Router, result: RunResult) -> None:
    torch.testing.assert_close(router.estimate_error(PROMPTS), result.router.estimate_error(PROMPTS), rtol=0, atol=1e-6)
    assert router.route(PROMPTS, cost_weight=0.1) == result.router.route(PROMPTS, cost_weight=0.1)
    assert router.pool.names == result.router.pool.names
    assert router.calibration.prompt_ids == result.router.calibration.prompt_ids


def test_stored_cluster_probabilities_are_those_of_the_calibration_prompts(router: Router) -> None:
    probability = router.head(router.encoder.embed(list(router.calibration.texts)))
    torch.testing.assert_close(probability, router.calibration.cluster_probability, rtol=0, atol=1e-5)


def test_saving_a_loaded_router_gives_the_same_files(router: Router, folder: Path, tmp_path: Path) -> None:
    router.save_pretrained(tmp_path / "copy")
    first, second = (json.loads((place / "manifest.json").read_text()) for place in (folder, tmp_path / "copy"))
    # transformers notes in this file how the tokenizer was loaded
    for manifest in (first, second):
        del manifest["sha256"]["encoder/tokenizer_config.json"]
    assert first == second


def test_folder_holds_no_pickle(folder: Path) -> None:
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".md", ".txt"}


def test_routing_does_not_depend_on_the_batch(router: Router) -> None:
    alone = torch.cat([router.estimate_error([prompt]) for prompt in PROMPTS])
    torch.testing.assert_close(router.estimate_error(PROMPTS), alone, rtol=0, atol=1e-5)


def test_cost_weight_is_in_units_of_the_reference_cost(router: Router) -> None:
    assert router.pool.relative_cost.max() == 1
    dear = router.route(PROMPTS, cost_weight=0.0)
    cheap = router.route(PROMPTS, cost_weight=1e6)
    for one, other in zip(dear, cheap, strict=True):
        assert one.estimated_error[one.llm] == min(one.estimated_error.values())
        assert other.cost[other.llm] == min(other.cost.values())


@pytest.mark.parametrize("cost_weight", [0.0, 0.1, 1.0])
def test_choosing_names_the_llms_of_the_routes(router: Router, cost_weight: float) -> None:
    assert router.choose(PROMPTS, cost_weight) == [route.llm for route in router.route(PROMPTS, cost_weight)]


def test_new_llm_joins_survives_saving_and_leaves(router: Router, tmp_path: Path) -> None:
    router.add_llm("perfect", dict.fromkeys(router.calibration.prompt_ids, 1.0), cost=0.0)
    router.save_pretrained(tmp_path / "grown")
    grown = Router.from_pretrained(tmp_path / "grown")
    assert all(route.llm == "perfect" for route in grown.route(PROMPTS))
    grown.pool = grown.pool.without_llm("perfect")
    assert "perfect" not in grown.pool.names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda router: router.add_llm("new", {}, 1.0), "empty"),
        (lambda router: router.add_llm("new", {"nowhere": 1.0}, 1.0), "'nowhere' is not a calibration prompt"),
        (lambda router: router.add_llm("new", {router.calibration.prompt_ids[0]: 1.5}, 1.0), "got 1.5"),
        (lambda router: router.add_llm("new", {router.calibration.prompt_ids[0]: 1.0}, -1.0), "cost of 'new'"),
        (lambda router: router.route("one string"), "list of prompts"),
        (lambda router: router.route(PROMPTS, cost_weight=-1.0), "cost_weight"),
        (lambda router: router.choose("one string"), "list of prompts"),
    ],
)
def test_what_makes_no_sense_is_refused(router: Router, change, message: str) -> None:
    with pytest.raises(PoolError, match=message):
        change(router)


@pytest.mark.parametrize("name", ["router.json", "router.safetensors", "calibration_prompts.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["remove", "truncate"])
def test_damaged_router_is_refused(folder: Path, tmp_path: Path, name: str, harm: str) -> None:
    shutil.copytree(folder, tmp_path / "router")
    path = tmp_path / "router" / name
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ArtifactError, match=name.replace(".", r"\.")):
        Router.from_pretrained(tmp_path / "router")


def test_another_encoder_in_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "router")
    weights = tmp_path / "router" / "encoder" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ArtifactError, match="checksum"):
        Router.from_pretrained(tmp_path / "router")


def test_card_names_the_llms_and_the_data(folder: Path, router: Router) -> None:
    card = (folder / "README.md").read_text()
    assert all(name in card for name in router.pool.names)
    assert "simulated:240x12" in card


def test_route_command_prints_json(folder: Path, router: Router, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "--router", str(folder), "--cost-weight", "0.3", "--json", *PROMPTS]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = router.route(PROMPTS, cost_weight=0.3)
    assert [line["llm"] for line in lines] == [route.llm for route in expected]
    assert [line["prompt"] for line in lines] == PROMPTS
    assert lines[0]["estimated_error"] == pytest.approx(expected[0].estimated_error)
    assert lines[0]["cost"] == expected[0].cost


def test_route_command_prints_a_table(folder: Path, router: Router, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "--router", str(folder), PROMPTS[0]]) == 0
    output = capsys.readouterr().out
    assert router.route(PROMPTS[:1])[0].llm in output
    assert "estimated error" in output


def test_route_command_reads_a_file_and_standard_input(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts.txt").write_bytes("\ufeffone\r\n\ntwo\x0cpages\u2028of\n".encode())
    assert main(["route", "--router", str(folder), "--json", "--input", str(tmp_path / "prompts.txt")]) == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"three\n")))
    assert main(["route", "--router", str(folder), "--json"]) == 0
    prompts = [json.loads(line)["prompt"] for line in capsys.readouterr().out.strip().split("\n")]
    assert prompts == ["one", "two\x0cpages\u2028of", "three"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--router", "no/such/folder", "prompt"], "no such folder"),
        (["--router", "FOLDER", "--cost-weight", "-1", "prompt"], "--cost-weight"),
        (["--router", "FOLDER", "--cost-weight", "nan", "prompt"], "--cost-weight"),
        (["--router", "FOLDER", "--top", "0", "prompt"], "--top"),
        (["--router", "FOLDER", "--input", "no/such/file"], "no such file"),
        (["--router", "FOLDER", "--input", "EMPTY"], "got none"),
        (["--router", "FOLDER", "--input", "BINARY"], "not UTF-8"),
        (["--router", "FOLDER", "--input", "EMPTY", "prompt"], "Give one of them"),
    ],
)
def test_route_commands_mistakes_give_one_message_and_code_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    places = {"FOLDER": str(folder), "EMPTY": str(tmp_path / "empty"), "BINARY": str(tmp_path / "binary")}
    assert main(["route", *(places.get(argument, argument) for argument in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
