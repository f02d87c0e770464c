"""The commands and programs of the README and the tutorials do what they say, cut down to seconds."""

import json
import re
import shlex
import shutil
from pathlib import Path

import httpx2
import pytest
from doc_programs import programs_of
from miniature import ROOT, miniature
from served_router import serve_process, write_upstreams

from unirouter_torch.cli import main
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.experiments.run import RunResult

PAGES = [ROOT / "README.md", ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]
PAGES += [ROOT / "docs" / "how_to" / name for name in ("bundled_router.md", "compare_methods.md")]
BLOCKS = [
    block for page in PAGES for block in re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
]
COMMANDS = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]


def commands(start: str) -> list[list[str]]:
    lines = dict.fromkeys(line for line in COMMANDS if line.startswith(start))
    return [shlex.split(line, comments=True)[len(start.split()) :] for line in lines]


@pytest.fixture
def home(
    workshop: Path, config: TrainConfig, result: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working copy in miniature: the recipes, and the router of the quickstart."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for run in ("quickstart", "own_log"):
        shutil.copytree(Path(config.output_dir) / "router", tmp_path / "runs" / run / "router")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cut_down(workshop: Path, home: Path, arguments: list[str]) -> list[str]:
    """The README's own arguments first, then what makes the run small."""
    few = ["--encoder_training.max_steps", "4", "--encoder_training.validate_every", "2"]
    small = [*miniature(workshop, *few)[2:], "--output_dir", str(home / "run")]
    where = small.index("--data.path")
    return arguments + (small[:where] + small[where + 2 :] if "--data.path" in arguments else small)


def test_every_command_is_of_a_known_kind() -> None:
    kinds = ("make ", "pip install ", "unirouter train ", "unirouter route ", "unirouter evaluate ", "unirouter adopt ")
    kinds = (*kinds, "unirouter pool ", "unirouter tune ", "unirouter serve ")
    tried_elsewhere = ("unirouter pretrain ", "curl ", "LARGE_API_KEY=", "  ")
    assert [line for line in COMMANDS if not line.startswith((*kinds, *tried_elsewhere))] == []
    assert all(commands(kind.strip()) for kind in kinds)


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for (target,) in commands("make"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_programs_of_the_tutorials_write_what_their_commands_read(home: Path) -> None:
    (program,) = programs_of("tutorials/new_llm.md")
    exec(program, {})
    for arguments in commands("unirouter pool"):
        assert main(["pool", *arguments]) == 0
    assert len(list((home / "runs/quickstart/router/pool").iterdir())) == 3  # as saved, added, undone
    assert len(list((home / "runs/own_log/router/pool").iterdir())) == 2


@pytest.mark.usefixtures("home")
def test_tuning_commands_for_a_saving_run() -> None:
    savings = [arguments for arguments in commands("unirouter tune") if "--target-saving" in arguments]
    assert len(savings) >= 3
    for arguments in savings:
        assert main(["tune", *arguments]) == 0


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
    for arguments in commands("unirouter train"):
        if "--head.start_from" not in arguments:  # needs the encoder that the bundled router was trained over
            assert main(["train", *cut_down(workshop, home, arguments)]) == 0


def test_evaluation_commands_run(home: Path, workshop: Path) -> None:
    for number, arguments in enumerate(commands("unirouter evaluate")):
        small = [*cut_down(workshop, home, arguments), "--evaluation.methods", "[zero, end_to_end]"]
        assert main(["evaluate", *small, "--trials", "1", "--output_dir", str(home / str(number))]) == 0


@pytest.mark.usefixtures("home", "log")
def test_routing_commands_run() -> None:
    for arguments in commands("unirouter adopt"):
        assert main(["adopt", *arguments]) == 0
    for arguments in commands("unirouter route"):
        assert main(["route", *arguments]) == 0


@pytest.mark.usefixtures("home")
def test_program_of_the_readme_prints_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text()
    (program, output) = re.findall(r"^```python\n(.*?)^```\n+```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0]
    exec(program, {})
    assert capsys.readouterr().out == output


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("page", ["index.md", "tutorials/cost_weight.md"])
def test_program_of_a_page_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for program in programs_of(page):
        exec(program, {})
    assert capsys.readouterr().out
