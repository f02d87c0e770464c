"""An interrupted training of the encoder ends as one that was not, and two workers compute what one computes."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_router import KINDS
from test_joint import TRAIN, Workshop, first_episode, recipe, with_a_transformer
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from unirouter_torch.config.training import TrainConfig, TrainerConfig
from unirouter_torch.errors import TerminatedError
from unirouter_torch.training.checkpoint import CHECKPOINT_NAME
from unirouter_torch.training.device_group import DeviceGroup
from unirouter_torch.training.joint import fit_module
from unirouter_torch.training.joint_module import JointModule
from unirouter_torch.training.launch import on_all_devices
from unirouter_torch.training.trainer import build_trainer


@pytest.fixture(scope="module", params=KINDS)
def workshop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    return Workshop(folder, encoder=KINDS[request.param](folder / "encoder"))


def train(workshop: Workshop, config: TrainConfig, folder: Path) -> dict[str, Tensor]:
    module = workshop.module(config)
    step = fit_module(module, 100, 0, folder)
    return dict(module.state_dict()) | {"losses": torch.tensor(module.losses), "step": torch.tensor(step)}


def at_episode(monkeypatch: pytest.MonkeyPatch, number: int, happens: object) -> None:
    """Let something happen at the start of an episode."""
    step = JointModule.training_step

    def training_step(self: JointModule, batch: object, batch_idx: int) -> Tensor:
        if batch_idx == number:
            happens()  # type: ignore[operator]
        return step(self, batch, batch_idx)

    monkeypatch.setattr(JointModule, "training_step", training_step)


def stop() -> None:
    raise KeyboardInterrupt


def ask_to_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("workshop", "config", "number", "happens", "error"),
    [
        ("transformer", recipe("full"), 5, stop, KeyboardInterrupt),
        ("transformer", recipe("last_layers", validate_every=3), 6, stop, KeyboardInterrupt),
        ("transformer", recipe("lora", accumulate=2), 11, stop, KeyboardInterrupt),
        ("transformer", recipe("lora", accumulate=2), 10, ask_to_end, TerminatedError),
        ("static", recipe("full"), 5, stop, KeyboardInterrupt),
        ("static", recipe("last_layers", accumulate=2), 10, ask_to_end, TerminatedError),
    ],
    ids=["full", "last_layers", "lora", "lora asked to end", "static full", "static last_layers asked to end"],
    indirect=["workshop"],
)
def test_interrupted_training_goes_on_to_the_same_end(
    config: TrainConfig,
    number: int,
    happens: object,
    error: type[BaseException],
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = train(workshop, config, tmp_path / "uninterrupted")
    with monkeypatch.context() as patched:
        at_episode(patched, number, happens)
        with pytest.raises(error):
            train(workshop, config, tmp_path / "interrupted")
    at_episode(monkeypatch, 0, lambda: pytest.fail("this episode was done before"))
    found = train(workshop, config, tmp_path / "interrupted")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    curves = [(tmp_path / part / "metrics.csv").read_text() for part in ("interrupted", "uninterrupted")]
    assert curves[0] == curves[1]


def test_training_that_was_to_stop_does_not_go_on(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = recipe(learning_rate=30.0, validate_every=1, max_steps=40, patience=2)
    expected = train(workshop, config, tmp_path)
    at_episode(monkeypatch, len(expected["losses"]), lambda: pytest.fail("it had stopped"))
    found = train(workshop, config, tmp_path)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@with_a_transformer
def test_checkpoint_holds_no_weights_that_are_not_trained(workshop: Workshop, tmp_path: Path) -> None:
    train(workshop, recipe("lora"), tmp_path)
    names = torch.load(tmp_path / CHECKPOINT_NAME, weights_only=True)["state_dict"]
    assert any("lora_A" in name for name in names)
    assert not any("base_layer" in name for name in names)


class OneStep(torch.nn.Module):
    """What Lightning's DDP calls."""

    def __init__(self, module: JointModule) -> None:
        super().__init__()
        self.module = module

    def forward(self) -> Tensor:
        return self.module.training_step(first_episode(), 0)


def step_and_train(config: TrainConfig, kind: str) -> dict[str, Tensor]:
    """Loss, gradients and memory bank of one episode, and the losses of a whole training."""
    torch.set_num_threads(1)
    workers = DeviceGroup.current()
    workshop = Workshop(Path(config.output_dir), encoder=Path(config.output_dir) / kind)
    module = workshop.module(config)
    module.trainer = build_trainer(config, logger=False)
    step = OneStep(module)
    model = step if workers.size == 1 else DistributedDataParallel(step, broadcast_buffers=False)
    loss = model()
    loss.backward()
    found = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
    found |= {"loss": loss.detach(), "bank": module.banks[0].read(TRAIN)}
    trained = workshop.module(config)
    fit_module(trained, 100, 0, None)
    return found | {"losses": torch.tensor(trained.losses)}


def over_both_kinds(config: TrainConfig) -> dict[str, dict[str, Tensor]]:
    """All that two workers do in this file, as starting them takes longer than what they do."""
    return {kind: step_and_train(config, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    folder = tmp_path_factory.mktemp("workers")
    for kind, save_encoder in KINDS.items():
        save_encoder(folder / kind)
    return replace(recipe(num_prompts=48, max_steps=3), output_dir=str(folder))


@pytest.fixture(scope="module")
def of_two_workers(alone: TrainConfig) -> dict[str, dict[str, Tensor]]:
    settings = replace(alone.encoder_training, num_prompts=24)
    together = replace(alone, encoder_training=settings, trainer=TrainerConfig(devices=2))
    return on_all_devices(over_both_kinds, together)


@pytest.mark.parametrize(("kind", "trained"), [("transformer", "attention"), ("static", "table_change")])
def test_two_workers_compute_what_one_computes_with_twice_the_prompts(
    kind: str, trained: str, alone: TrainConfig, of_two_workers: dict[str, dict[str, Tensor]]
) -> None:
    expected, found = step_and_train(alone, kind), of_two_workers[kind]
    assert found.keys() == expected.keys()
    assert any(trained in name and gradient.any() for name, gradient in found.items())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6, msg=name)
