"""Whole runs on several devices, which are processes on this machine here."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from miniature import ROOT, miniature

from unirouter_torch import Router
from unirouter_torch.cli import main
from unirouter_torch.config.files import parse_config
from unirouter_torch.experiments.run import RunResult, run
from unirouter_torch.training.checkpoint import CHECKPOINT_NAME

SECONDS_TO_WAIT = 300
TWO = ["--trainer.devices", "2"]
LONG = ["--trainer.max_steps", "150", "--trainer.validate_every", "10", "--evaluation.methods", "[end_to_end]"]


def test_two_devices_train_the_router_of_one(workshop: Path, tmp_path: Path, result: RunResult) -> None:
    folders = ("--output_dir", str(tmp_path / "run"), "--data.cache_dir", str(tmp_path / "cache"))
    found = run(parse_config(miniature(workshop, *folders, *TWO)))
    assert found is not None
    for name, scores in result.report.methods.items():
        assert found.report.methods[name].figures == pytest.approx(scores.figures, abs=1e-5, nan_ok=True)
    assert list(found.report.methods) == list(result.report.methods)
    for one, other in zip(found.router.head.parameters(), result.router.head.parameters(), strict=True):
        assert one.detach().numpy() == pytest.approx(other.detach().numpy(), abs=1e-5)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert len([file for file in files if file.startswith("cache/")]) == 1
    assert {file for file in files if not file.startswith(("cache/", "run/router/"))} == {
        f"run/{name}" for name in ("config.yaml", "results.json", "results.md", "curves.png", "logs/metrics.csv")
    }
    curves = (tmp_path / "run" / "logs" / "metrics.csv").read_text().splitlines()
    assert len(curves) == 5


def test_two_devices_train_the_encoder_of_one(workshop: Path, tmp_path: Path) -> None:
    def tuned(name: str, num_prompts: int, *more: str) -> RunResult:
        settings = {"mode": "last_layers", "num_layers": 1, "max_steps": 6, "validate_every": 2, "learning_rate": 1e-3}
        keys = [part for item in settings.items() for part in (f"--encoder_training.{item[0]}", str(item[1]))]
        keys += ["--encoder_training.num_prompts", str(num_prompts), "--output_dir", str(tmp_path / name), *more]
        found = run(parse_config(miniature(workshop, "--evaluation.methods", "[end_to_end]", *keys)))
        assert found is not None
        return found

    one, two = tuned("one", 64), tuned("two", 32, *TWO)
    for name, scores in one.report.methods.items():
        assert two.report.methods[name].figures == pytest.approx(scores.figures, abs=1e-4, nan_ok=True)
    assert two.report.methods.keys() == {"end_to_end_frozen", "end_to_end"}
    assert two.router.encoder.embed(["seven kites"]).numpy() == pytest.approx(
        one.router.encoder.embed(["seven kites"]).numpy(), abs=1e-4
    )
    assert (tmp_path / "two" / "logs" / "encoder" / "metrics.csv").exists()


def workers_of(parent: int) -> list[int]:
    """The workers in the order in which they were started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="workers are found by /proc")
@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGKILL, 2, "worker 1 of 2 was ended by SIGKILL"),
        (signal.SIGTERM, 143, "the same command goes on from there"),
    ],
)
def test_ended_workers_leave_a_message_and_a_whole_checkpoint(
    number: signal.Signals, code: int, message: str, workshop: Path, tmp_path: Path
) -> None:
    arguments = miniature(workshop, "--output_dir", str(tmp_path), *LONG)
    checkpoint = tmp_path / "logs" / CHECKPOINT_NAME
    end_two_workers([*arguments, *TWO], checkpoint, number, code, message)
    assert main(["train", *arguments]) == 0
    assert not checkpoint.exists()
    Router.from_pretrained(tmp_path / "router")
    assert json.loads((tmp_path / "results.json").read_text())["methods"]["end_to_end"]["area"] > 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="workers are found by /proc")
def test_encoder_that_workers_share_out_survives_the_kill_of_one(workshop: Path, tmp_path: Path) -> None:
    settings = {"mode": "full", "max_steps": 6, "validate_every": 1, "patience": 6, "num_prompts": 16}
    keys = [part for item in settings.items() for part in (f"--encoder_training.{item[0]}", str(item[1]))]
    shared = [*TWO, "--trainer.strategy", "fsdp", "--evaluation.methods", "[end_to_end]", *keys]

    def arguments(name: str) -> list[str]:
        return [*miniature(workshop, "--output_dir", str(tmp_path / name)), *shared]

    checkpoint = tmp_path / "killed" / "logs" / "encoder" / CHECKPOINT_NAME
    end_two_workers(arguments("killed"), checkpoint, signal.SIGKILL, 2, "worker 1 of 2 was ended by SIGKILL")
    for name in ("killed", "whole"):
        assert main(["train", *arguments(name)]) == 0
    prompts = ["seven kites", "What is 17 + 25?"]
    killed, whole = (Router.from_pretrained(tmp_path / name / "router") for name in ("killed", "whole"))
    assert torch.equal(killed.encoder.embed(prompts), whole.encoder.embed(prompts))
    assert killed.route(prompts) == whole.route(prompts)


def end_two_workers(arguments: list[str], checkpoint: Path, number: signal.Signals, code: int, message: str) -> None:
    """Start a training, kill its second worker or ask it to end as soon as there is a checkpoint, and see it end."""
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while not checkpoint.exists():
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.005)
        workers = workers_of(process.pid)
        os.kill(workers[1] if number == signal.SIGKILL else process.pid, number)
        _, said = process.communicate(timeout=SECONDS_TO_WAIT)
    assert process.returncode == code, said
    assert message in said
    assert "Traceback" not in said
    assert len(workers) == 2
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert checkpoint.exists()
    assert not next(folder for folder in checkpoint.parents if folder.name == "logs").with_name("router").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer.strategy", "ddp"], "trainer.strategy: got ddp with one device"),
        (["--trainer.num_nodes", "2"], "trainer.num_nodes: got 2, but nobody has started the workers"),
        ([*TWO, "--trainer.accelerator", "abacus"], "A CPU always works: accelerator cpu"),
    ],
)
def test_hardware_that_cannot_work_gives_one_message(
    arguments: list[str], message: str, workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *miniature(workshop, "--output_dir", str(tmp_path), *arguments)]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_mistake_that_the_workers_find_gives_one_message(
    workshop: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--output_dir", str(tmp_path), "--encoder.name", "no/such encoder", *TWO)
    assert main(["train", *miniature(workshop, *arguments)]) == 2
    said = capfd.readouterr().err
    assert "no/such encoder" in said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("command", ["evaluate", "stress"])
def test_trials_refuse_several_devices(
    command: str, workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = miniature(workshop, "--output_dir", str(tmp_path), *TWO)
    assert main([command, "--trials", "1", *arguments]) == 2
    assert "trainer.devices: got 2 on 1 nodes, expected one device" in capsys.readouterr().err
