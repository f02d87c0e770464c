"""Two workers that share out the weights of an encoder compute what one computes that has all of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_encoder
import torch
from test_joint import TRAIN, Workshop, recipe
from torch import Tensor
from torch.distributed.tensor import DTensor

from unirouter_torch.config.training import TrainConfig, TrainerConfig
from unirouter_torch.encoder import padding
from unirouter_torch.errors import ConfigError
from unirouter_torch.training.checkpoint import CHECKPOINT_NAME
from unirouter_torch.training.device_group import DeviceGroup
from unirouter_torch.training.joint import fit_module, train_jointly
from unirouter_torch.training.joint_module import JointModule
from unirouter_torch.training.launch import on_all_devices

SAVERS = {
    "bert": tiny_encoder.save_bert,
    "modernbert": tiny_encoder.save_modernbert,
    "qwen2": tiny_encoder.save_qwen2,
    "static": tiny_encoder.save_static_with_form,
}
FEW = {"max_steps": 2, "validate_every": 1, "gradient_clip": 0.1}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("bert", {"mode": "full", "gradient_checkpointing": True}),
    "last_layers": ("bert", {"mode": "last_layers"}),
    "lora": ("bert", {"mode": "lora", "accumulate": 2}),
    "modernbert": ("modernbert", {"mode": "full"}),
    "decoder": ("qwen2", {"mode": "full", "gradient_checkpointing": True}),
    "static": ("static", {"mode": "full", "accumulate": 2}),
}
MERGED: dict[str, dict[str, Any]] = {
    "bert": FEW | {"mode": "lora", "max_steps": 4},
    "static": FEW | {"mode": "full", "max_steps": 4},
}

LONG = {"mode": "full", "max_steps": 8, "validate_every": 4}
STOPPED_AT = 5


class Watched(JointModule):
    """Remembers the gradients of the first step, what of the weights lies here, and stops when told to."""

    gradients: dict[str, Tensor]
    stop_at: int | None = None

    def configure_gradient_clipping(self, *arguments: Any, **named: Any) -> None:
        super().configure_gradient_clipping(*arguments, **named)
        if self.trainer.global_step == 0:
            trained = [(name, value.grad) for name, value in self.named_parameters() if value.grad is not None]
            self.gradients = {name: full(gradient).clone() for name, gradient in trained}
            shards = [p.to_local().numel() for p in self.parameters() if isinstance(p, DTensor)]
            self.num_here = torch.tensor(sum(shards))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if batch_idx == self.stop_at:
            raise KeyboardInterrupt
        return super().training_step(batch, batch_idx)


def full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def watched(config: TrainConfig, folder: Path, kind: str) -> Watched:
    workshop = Workshop(folder, encoder=folder / kind, with_twins=False)
    module = workshop.module(config)
    return Watched(module.encoder, module.head, workshop.tables(), config)


def config_of(settings: dict[str, Any], folder: Path, size: int, strategy: str) -> TrainConfig:
    mode, others = settings["mode"], {name: value for name, value in settings.items() if name != "mode"}
    config = recipe(mode, **{**others, "num_prompts": 48 // size})
    hardware = TrainerConfig(devices=size, strategy=strategy) if size > 1 else TrainerConfig()
    return replace(config, output_dir=str(folder), trainer=hardware)


def one_case(settings: dict[str, Any], folder: Path, kind: str, strategy: str) -> dict[str, Tensor]:
    """Gradients of the first step, losses, and the embedding of the training prompts after the last one."""
    workers = DeviceGroup.current()
    module = watched(config_of(FEW | settings, folder, workers.size, strategy), folder, kind)
    with pytest.MonkeyPatch.context() as patched:
        if workers.is_first:  # it needs more passes than the other one
            patched.setattr(padding, "_TOKENS_ON_CPU", 60)
        fit_module(module, 100, 0, None)
    found = dict(module.gradients) | {"losses": torch.tensor(module.losses), "num_here": module.num_here}
    return found | {"bank": module.banks[0].read(TRAIN)}


def long_training(folder: Path, strategy: str, logs: str, stop_at: int | None = None) -> dict[str, Tensor]:
    module = watched(config_of(LONG, folder, 2, strategy), folder, "bert")
    module.stop_at = stop_at
    step = fit_module(module, 100, 0, folder / logs)
    weights = {name: full(value).detach().clone() for name, value in module.named_parameters()}
    return weights | {"losses": torch.tensor(module.losses), "step": torch.tensor(step)}


@contextmanager
def stopped() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        return
    raise AssertionError("was not stopped")


def in_workers(config: TrainConfig) -> dict[str, Any]:
    """All that two workers do in these tests, as starting them takes longer than what they do."""
    torch.set_num_threads(1)
    folder = Path(config.output_dir)
    found: dict[str, Any] = {}
    for name, (kind, settings) in CASES.items():
        found[name] = one_case(settings, folder, kind, "fsdp")
    half = {"mode": "full", "precision": "bf16-mixed"}
    found["bf16"] = [one_case(half, folder, "qwen2", strategy) for strategy in ("fsdp", "ddp")]
    found["uninterrupted"] = long_training(folder, "fsdp", "uninterrupted")
    with stopped():
        long_training(folder, "fsdp", "interrupted", STOPPED_AT)
    found["interrupted"] = long_training(folder, "fsdp", "interrupted")
    found["ddp"] = long_training(folder, "ddp", "ddp")
    with stopped():
        long_training(folder, "ddp", "handed over", STOPPED_AT)
    found["handed over"] = long_training(folder, "fsdp", "handed over")
    with stopped():
        long_training(folder, "fsdp", "handed back", STOPPED_AT)
    found["handed back"] = long_training(folder, "ddp", "handed back")
    for kind in MERGED:
        found[f"embedding of {kind}"] = embedding_when_trained(kind, folder, 2, "fsdp")
    return found


def embedding_when_trained(kind: str, folder: Path, size: int, strategy: str) -> Tensor:
    config = config_of(MERGED[kind], folder, size, strategy)
    workshop = Workshop(folder, encoder=folder / kind, with_twins=False)
    head = workshop.module(config).head
    tuned = train_jointly(config, workshop.encoder, head, workshop.tables(), log_folder=None)
    assert not torch.allclose(tuned.encoder.embed(workshop.texts[:5]), workshop.outcomes.embedding[:5], atol=1e-3)
    return tuned.encoder.embed(workshop.texts[:5])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharding")
    for name, save in SAVERS.items():
        save(folder / name)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return on_all_devices(in_workers, config_of(LONG, folder, 2, "fsdp"))


@pytest.mark.parametrize("case", CASES)
def test_gradients_and_losses_are_those_of_one_worker(case: str, found: dict[str, Any], folder: Path) -> None:
    kind, settings = CASES[case]
    expected = one_case(settings, folder, kind, "auto")
    assert found[case].keys() == expected.keys()
    assert sum(value.abs().max() > 1e-4 for value in expected.values()) > (5 if kind == "static" else 10)
    assert expected.pop("num_here") == 0
    for name, value in expected.items():
        # AdamW makes much of the rounding of gradients that are next to zero
        torch.testing.assert_close(found[case][name], value, rtol=0, atol=1e-4 if name == "bank" else 1e-6, msg=name)


def test_a_worker_holds_its_part_of_the_weights_alone(found: dict[str, Any], folder: Path) -> None:
    encoder = Workshop(folder, encoder=folder / "bert", with_twins=False).encoder
    num_weights = sum(parameter.numel() for parameter in encoder.parameters())
    assert found["full"]["num_here"] == pytest.approx(num_weights / 2, rel=0.01)


def test_half_precision_stays_near_that_of_ddp(found: dict[str, Any]) -> None:
    sharded, replicated = found["bf16"]
    torch.testing.assert_close(sharded["losses"], replicated["losses"], rtol=0, atol=0.01)
    assert not torch.equal(sharded["bank"], replicated["bank"])


def test_interrupted_training_goes_on_to_the_same_end(found: dict[str, Any]) -> None:
    for name, value in found["uninterrupted"].items():
        assert torch.equal(found["interrupted"][name], value), name


def test_checkpoint_is_that_of_ddp(found: dict[str, Any], folder: Path) -> None:
    sharded, ddp = (torch.load(folder / name / CHECKPOINT_NAME, weights_only=True) for name in ("uninterrupted", "ddp"))
    assert sharded["fingerprint"] == ddp["fingerprint"]
    assert not any(isinstance(value, DTensor) for value in sharded["state_dict"].values())
    for part in ("state_dict", "optimizer_states", "callbacks"):
        torch.testing.assert_close(shapes(sharded[part]), shapes(ddp[part]))
    for way in ("handed over", "handed back"):
        torch.testing.assert_close(found[way]["losses"], found["ddp"]["losses"], rtol=0, atol=1e-6)


def shapes(part: Any) -> Any:
    """The same with the shape of each tensor in its place."""
    if isinstance(part, dict):
        return {str(name): shapes(value) for name, value in part.items()}
    if isinstance(part, list):
        return {str(number): shapes(value) for number, value in enumerate(part)}
    return torch.tensor(part.shape if isinstance(part, Tensor) else 0)


@pytest.mark.parametrize("kind", MERGED)
def test_trained_encoder_is_whole_and_merged(kind: str, found: dict[str, Any], folder: Path) -> None:
    expected = embedding_when_trained(kind, folder, 1, "auto")
    torch.testing.assert_close(found[f"embedding of {kind}"], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trainer": TrainerConfig(devices=2, strategy="fsdp")}, "fsdp with a frozen encoder"),
        (
            {
                "trainer": TrainerConfig(devices=2, strategy="fsdp"),
                "encoder_training": recipe("full", compile=True).encoder_training,
            },
            "encoder_training.compile: got true with trainer.strategy fsdp",
        ),
    ],
)
def test_what_cannot_be_sharded_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)
