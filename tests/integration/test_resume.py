"""Runs that are really killed, and what the same command makes of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from miniature import ROOT, miniature
from threadpoolctl import threadpool_limits
from torch import Tensor

from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.experiments.pretrain import pretrain
from unirouter_torch.experiments.run import run
from unirouter_torch.storage import sha256_of_file
from unirouter_torch.training.checkpoint import CHECKPOINT_NAME
from unirouter_torch.training.episodes import Episode
from unirouter_torch.training.module import RouterModule

STEPS = ["--trainer.max_steps", "100", "--trainer.validate_every", "10", "--evaluation.methods", "[end_to_end]"]
ENCODER_STEPS = [
    *(
        "--encoder_training.mode",
        "full",
        "--encoder_training.max_steps",
        "32",
        "--encoder_training.validate_every",
        "4",
    ),
    *("--encoder_training.num_prompts", "32", "--encoder_training.learning_rate", "1e-3"),
    *("--encoder_training.patience", "32"),
]
SECONDS_TO_WAIT = 300


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums over several threads round differently."""
    with threadpool_limits(1):
        yield


def contents(folder: Path) -> dict[str, str]:
    files = [folder / "results.json", *(folder / "logs").rglob("metrics.csv"), *(folder / "router").rglob("*")]
    return {file.relative_to(folder).as_posix(): sha256_of_file(file) for file in files if file.is_file()}


def end_while_training(arguments: list[str], checkpoint: Path, number: signal.Signals) -> tuple[int, str]:
    """Start ``train.py``, send it a signal once there is a checkpoint; its exit code and what it said."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while not checkpoint.exists():
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.005)
        process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS_TO_WAIT)
    return process.returncode, said


class Training(NamedTuple):
    """What is trained: the head alone, or the encoder too."""

    encoder: Path
    trains_encoder: bool

    def arguments(self, workshop: Path, folder: Path) -> list[str]:
        places = ("--output_dir", str(folder), "--encoder.name", str(self.encoder))
        return miniature(workshop, *places, *STEPS, *(ENCODER_STEPS if self.trains_encoder else []))


@pytest.fixture(scope="module")
def training(request: pytest.FixtureRequest, workshop: Path, static: Path) -> Training:
    encoder = workshop / "encoder" if request.param == "transformer" else static
    return Training(encoder, trains_encoder=request.param != "head")


@pytest.fixture(scope="module")
def expected(workshop: Path, training: Training, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    with threadpool_limits(1):
        run(parse_config(training.arguments(workshop, folder)))
    return contents(folder)


@pytest.mark.parametrize(
    ("training", "number", "code"),
    [
        ("head", signal.SIGKILL, -9),
        ("head", signal.SIGTERM, 143),
        ("transformer", signal.SIGKILL, -9),
        ("static", signal.SIGTERM, 143),
    ],
    indirect=["training"],
)
def test_ended_run_goes_on_to_the_same_files(
    number: signal.Signals, code: int, workshop: Path, tmp_path: Path, training: Training, expected: dict[str, str]
) -> None:
    arguments = training.arguments(workshop, tmp_path)
    checkpoint = tmp_path / "logs" / ("encoder" if training.trains_encoder else "") / CHECKPOINT_NAME
    found, said = end_while_training(arguments, checkpoint, number)
    assert found == code
    assert "Traceback" not in said
    assert ("the same command goes on from there" in said) is (number is signal.SIGTERM)
    assert checkpoint.exists()
    assert not (tmp_path / "router").exists()
    run(parse_config(arguments))
    assert contents(tmp_path) == expected
    assert not checkpoint.exists()


def test_interrupted_pretraining_goes_on_to_the_same_router(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(name: str) -> TrainConfig:
        tables = ("--data.tables", "[simulated:240x12]", "--output_dir", str(tmp_path / name))
        return parse_config(miniature(workshop, *tables))

    pretrain(config("uninterrupted"))
    expected = contents(tmp_path / "uninterrupted")
    step, stop_at = RouterModule.training_step, 12

    def training_step(self: RouterModule, batch: Episode, batch_idx: int) -> Tensor:
        if batch_idx == stop_at:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    monkeypatch.setattr(RouterModule, "training_step", training_step)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config("interrupted"))
    assert (tmp_path / "interrupted" / "logs" / CHECKPOINT_NAME).exists()
    stop_at = 0
    pretrain(config("interrupted"))
    assert contents(tmp_path / "interrupted") == expected
    assert not (tmp_path / "interrupted" / "logs" / CHECKPOINT_NAME).exists()
