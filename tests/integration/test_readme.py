"""The commands of the README do what it says, cut down to seconds."""

import json
import re
import shlex
import shutil
from pathlib import Path

import httpx2
import pytest
import yaml
from miniature import ROOT, miniature
from served_router import serve_process, write_upstreams

from unirouter_torch.cli import main, train
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.experiments.run import RunResult

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
COMMANDS = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]
PYTHON = [block for language, block in BLOCKS if language == "python"]


def commands(start: str) -> list[list[str]]:
    return [shlex.split(line)[len(start.split()) :] for line in COMMANDS if line.startswith(start)]


@pytest.fixture
def home(
    workshop: Path, config: TrainConfig, result: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working copy in miniature: the recipes, and the router of the quickstart."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(Path(config.output_dir) / "router", tmp_path / "runs" / "quickstart" / "router")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cut_down(workshop: Path, home: Path, arguments: list[str]) -> list[str]:
    """The README's own arguments first, then what makes the run small."""
    small = [*miniature(workshop)[2:], "--output_dir", str(home / "run")]
    where = small.index("--data.path")
    return arguments + (small[:where] + small[where + 2 :] if "--data.path" in arguments else small)


def test_every_command_is_of_a_known_kind() -> None:
    kinds = ("make ", "pip install ", "python train.py ", "unirouter route ", "unirouter evaluate ", "unirouter adopt ")
    kinds = (*kinds, "unirouter pool ", "unirouter export ", "unirouter serve ")
    assert all(line.startswith(kinds) for line in COMMANDS)
    assert all(commands(kind.strip()) for kind in kinds)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for (target,) in commands("make"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_pool_commands_run(home: Path) -> None:
    prompts = json.loads((home / "runs/quickstart/router/calibration_prompts.json").read_text())
    (home / "scores.csv").write_text("\n".join(["prompt_id,score", *(f"{one['prompt_id']},1" for one in prompts)]))
    for arguments in commands("unirouter pool"):
        assert main(["pool", *arguments]) == 0
    assert len(list((home / "runs/quickstart/router/pool").iterdir())) == 3


def test_export_commands_run(home: Path) -> None:
    for arguments in commands("unirouter export"):
        assert main(["export", *arguments]) == 0
    assert any((home / "runs/quickstart/exported").iterdir())


def test_serving_commands_run(home: Path, result: RunResult) -> None:
    write_upstreams(home / "upstreams.yaml", {result.router.pool.names[0]: "http://127.0.0.1:9/v1"})
    for arguments in commands("unirouter serve"):
        with serve_process(*arguments) as (_, address):
            assert httpx2.get(f"{address}/health", trust_env=False).json()["llms"] == len(result.router.pool.names)


def test_python_of_the_pool_page_runs(home: Path) -> None:
    page = (ROOT / "docs" / "how_to" / "pool.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    prompts = json.loads((home / "runs/quickstart/router/calibration_prompts.json").read_text())
    (home / "scores.csv").write_text("prompt_id,score\n")
    exec(block, {"scores": {one["prompt_id"]: 1.0 for one in prompts}})
    assert len(list((home / "runs/quickstart/router/pool").iterdir())) == 3


@pytest.fixture
def log(home: Path) -> None:
    """The user's log of the README."""
    rows = [f"Is {n} even?,{llm},{(n + k) % 2}" for n in range(60) for k, llm in enumerate("abcd")]
    (home / "my_log.csv").write_text("\n".join(["prompt,llm,score", *rows]) + "\n")


@pytest.mark.usefixtures("log")
def test_training_commands_run(home: Path, workshop: Path) -> None:
    for arguments in commands("python train.py"):
        assert train(cut_down(workshop, home, arguments)) == 0


def test_evaluation_commands_run(home: Path, workshop: Path) -> None:
    recipe = home / "configs" / "zeroeval.yaml"
    settings = yaml.safe_load(recipe.read_text())
    del settings["data"]["same_llm"]
    recipe.write_text(yaml.safe_dump(settings))
    for number, arguments in enumerate(commands("unirouter evaluate")):
        small = [*cut_down(workshop, home, arguments), "--evaluation.methods", "[zero, end_to_end]"]
        assert main(["evaluate", *small, "--trials", "1", "--output_dir", str(home / str(number))]) == 0


@pytest.mark.usefixtures("home", "log")
def test_routing_commands_run() -> None:
    for arguments in commands("unirouter adopt"):
        assert main(["adopt", *arguments]) == 0
    for arguments in commands("unirouter route"):
        assert main(["route", *arguments]) == 0


def test_python_blocks_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for block in PYTHON:
        exec(block, names)
    assert capsys.readouterr().out
