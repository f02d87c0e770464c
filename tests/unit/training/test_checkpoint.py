"""A training that was interrupted ends as one that was not."""

import os
import resource
import signal
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import wandb

from unirouter_torch.config.training import EpisodeConfig, OptimizerConfig, TrainConfig, TrainerConfig
from unirouter_torch.errors import ArtifactError, ConfigError, TerminatedError
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.training.checkpoint import CHECKPOINT_NAME, CheckpointFile, remove_checkpoints
from unirouter_torch.training.head_training import train_head
from unirouter_torch.training.module import RouterModule
from unirouter_torch.training.validation import validation_set

MAX_STEPS, VALIDATE_EVERY = 24, 5
CONFIG = TrainConfig(
    episodes=EpisodeConfig(min_calibration=10, num_targets=40),
    optimizer=OptimizerConfig(learning_rate=0.05),
    trainer=TrainerConfig(max_steps=MAX_STEPS, validate_every=VALIDATE_EVERY),
)


class Trained(NamedTuple):
    step: int
    weights: dict[str, torch.Tensor]
    curves: list[str]


def outcomes(num_prompts: int, seed: int) -> Outcomes:
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(num_prompts, 6, generator=generator)
    error = (torch.rand(num_prompts, 5, generator=generator) < embedding[:, :1].sigmoid()).float()
    return Outcomes(embedding, error, torch.rand(num_prompts, 5, generator=generator) < 0.9)


def train(folder: Path, config: TrainConfig = CONFIG) -> Trained:
    table = outcomes(120, 0)
    head = ClusterHead.from_centroids(table.embedding[:4].clone(), sharpness=1.0, shrinkage=5.0)
    watched = validation_set("llms", table, outcomes(60, 1), torch.arange(5) + 1.0, num_calibration=50, seed=0)
    step = train_head(head, [table], [watched], config, seed=0, log_folder=folder)
    return Trained(step, head.state_dict(), (folder / "metrics.csv").read_text().splitlines())


def at_step(monkeypatch: pytest.MonkeyPatch, number: int, happens: object) -> None:
    """Let something happen at the start of a training step."""
    step = RouterModule.training_step

    def training_step(self: RouterModule, batch: object, batch_idx: int) -> torch.Tensor:
        if batch_idx == number:
            happens()  # type: ignore[operator]
        return step(self, batch, batch_idx)

    monkeypatch.setattr(RouterModule, "training_step", training_step)


def stop() -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("uninterrupted"))


def assert_same(one: Trained, other: Trained) -> None:
    assert one.step == other.step
    assert one.curves == other.curves
    for name, weight in one.weights.items():
        assert torch.equal(weight, other.weights[name]), name


@pytest.mark.parametrize("number", [3, 5, 6, 10, 20, 23])
def test_interrupted_training_goes_on_to_the_same_end(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Trained
) -> None:
    with monkeypatch.context() as patched:
        at_step(patched, number, stop)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path)
    assert (tmp_path / CHECKPOINT_NAME).exists() is (number >= VALIDATE_EVERY)
    done: list[int] = []
    at_step(monkeypatch, number, lambda: done.append(number))
    assert_same(train(tmp_path), uninterrupted)
    assert done == [number]


@pytest.mark.parametrize("number", [0, 4, 9, 14, 23])
def test_training_asked_to_end_saves_first(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Trained
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        at_step(patched, number, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(
            TerminatedError, match=rf"saved after step {number + 1} of {MAX_STEPS} .*same command goes on"
        ):
            train(tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before
    at_step(monkeypatch, number, lambda: pytest.fail("this step was done before"))
    assert_same(train(tmp_path), uninterrupted)


def test_finished_training_goes_on_from_its_last_validation(tmp_path: Path, uninterrupted: Trained) -> None:
    assert_same(train(tmp_path), uninterrupted)
    assert_same(train(tmp_path), uninterrupted)
    (tmp_path / f".{CHECKPOINT_NAME}.half").touch()
    remove_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    train(tmp_path)
    other = TrainConfig(episodes=CONFIG.episodes, trainer=CONFIG.trainer)
    with pytest.raises(ConfigError, match=rf"{CHECKPOINT_NAME}: the checkpoint of a training with another table"):
        train(tmp_path, other)


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: b"", lambda content: b"PK" * 99])
def test_damaged_checkpoint_gives_one_line(tmp_path: Path, damage: object) -> None:
    train(tmp_path)
    path = tmp_path / CHECKPOINT_NAME
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=rf"{CHECKPOINT_NAME}: expected a checkpoint, but it cannot be read\."):
        train(tmp_path)


def test_half_written_checkpoint_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Trained
) -> None:
    save, calls = torch.save, []

    def save_half(content: object, file: object) -> None:
        calls.append(content)
        if len(calls) == 2:
            file.write(b"half")  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")
        save(content, file)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", save_half)
        with pytest.raises(OSError, match="No space left") as caught:
            train(tmp_path)
    assert Path(caught.value.filename).name == CHECKPOINT_NAME
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", CHECKPOINT_NAME]
    assert_same(train(tmp_path), uninterrupted)


def test_full_disk_is_told_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    file, path = CheckpointFile("this training"), tmp_path / CHECKPOINT_NAME
    file.save_checkpoint({"weight": torch.zeros(10)}, path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(ArtifactError, match=rf"{CHECKPOINT_NAME}: cannot be written .*Make room"):
            file.save_checkpoint({"weight": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_training_that_goes_on_is_the_same_run_at_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, logger="wandb")

    def identities() -> set[str]:
        wandb.finish()  # as the end of the process does
        return {path.name.rsplit("-", 1)[1] for path in (tmp_path / "wandb").glob("offline-run-*")}

    with monkeypatch.context() as patched:
        at_step(patched, 12, stop)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, config)
    first = identities()
    assert len(first) == 1
    train(tmp_path, config)
    assert identities() == first
    remove_checkpoints(tmp_path)
    train(tmp_path, config)
    assert len(identities()) == 2
