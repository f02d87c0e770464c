"""Which weights of an encoder are trained, and what is saved of them."""

import subprocess
import sys
from pathlib import Path

import pytest
import tiny_encoder
import torch
from tiny_encoder import PROMPTS

from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.trainable import TrainableEncoder, make_trainable
from unirouter_torch.errors import ConfigError

LAST_TOKEN = {"pooling_mode": "lasttoken", "embedding_dimension": tiny_encoder.DIM}
KINDS = ["bert", "roberta", "modernbert", "qwen2", "llama"]
WAYS = [
    *((kind, mode) for kind in KINDS for mode in ("full", "lora")),
    ("bert", "last_layers"),
    ("roberta", "last_layers"),
]
STATIC_WAYS = [(kind, mode) for kind in ("static", "static_with_form") for mode in ("full", "last_layers")]
ROWS = torch.tensor([3, 6, 0, 4, 2, 1, 5])


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PromptEncoder]:
    root = tmp_path_factory.mktemp("encoders")
    folders = {
        "bert": tiny_encoder.save_bert(root / "bert", pooling={"pooling_mode_cls_token": True}),
        "roberta": tiny_encoder.save_roberta(root / "roberta", modules=("Transformer", "Pooling")),
        "modernbert": tiny_encoder.save_modernbert(root / "modernbert"),
        "qwen2": tiny_encoder.save_qwen2(root / "qwen2", pooling=LAST_TOKEN),
        "static": tiny_encoder.save_static(root / "static"),
        "static_with_form": tiny_encoder.save_static_with_form(root / "static_with_form"),
        "llama": tiny_encoder.save_llama(root / "llama", pooling=LAST_TOKEN),
    }
    return {kind: PromptEncoder.from_pretrained(str(folder)) for kind, folder in folders.items()}


def trainable(encoder: PromptEncoder, folder: Path, mode: str, **settings: object) -> TrainableEncoder:
    config = EncoderTrainingConfig(mode=mode, **{"num_layers": 1, "lora_rank": 2, **settings})
    return make_trainable(encoder, PROMPTS, config, cache_dir=folder, seed=0)


def some_steps(module: TrainableEncoder, num_steps: int = 3) -> list[float]:
    """Move all embeddings to one direction."""
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for _ in range(num_steps):
        loss = (module(ROWS)[:, 0] - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("kind", "mode"), WAYS)
def test_units_are_all_layers_and_then_what_is_trained(
    kind: str, mode: str, encoders: dict[str, PromptEncoder], tmp_path: Path
) -> None:
    module = trainable(encoders[kind], tmp_path, mode)
    *layers, last = module.units()
    assert last is module.trained
    assert len(layers) == module.encoder.network.config.num_hidden_layers == 2
    assert all(any("attn" in name or "attention" in name for name, _ in layer.named_modules()) for layer in layers)


@pytest.mark.parametrize(("kind", "mode"), [*WAYS, *STATIC_WAYS])
def test_every_kind_starts_as_the_frozen_encoder_learns_and_embeds_as_it_learned(
    kind: str, mode: str, encoders: dict[str, PromptEncoder], tmp_path: Path
) -> None:
    frozen = encoders[kind]
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    module = trainable(frozen, tmp_path, mode)
    torch.testing.assert_close(module(ROWS), frozen.embed(PROMPTS)[ROWS], atol=5e-3, rtol=0)
    losses = some_steps(module)
    assert losses[-1] < losses[0]
    learned = module(ROWS).detach()
    tuned = module.finish()
    torch.testing.assert_close(
        tuned.embed(PROMPTS)[ROWS], learned, atol=5e-3 if mode == "last_layers" else 1e-5, rtol=0
    )
    assert not torch.allclose(learned, frozen.embed(PROMPTS)[ROWS], atol=1e-3)
    assert tuned.fingerprint() != frozen.fingerprint()
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
    tuned.save_pretrained(tmp_path / "saved")
    loaded = PromptEncoder.from_pretrained(str(tmp_path / "saved"))
    torch.testing.assert_close(loaded.embed(PROMPTS), tuned.embed(PROMPTS), atol=1e-6, rtol=0)
    assert loaded.fingerprint() == tuned.fingerprint()


@pytest.mark.parametrize("settings", [{"mode": "lora"}, {"mode": "full", "gradient_checkpointing": True}])
def test_what_needs_layers_is_refused_with_a_static_encoder(
    settings: dict[str, object], encoders: dict[str, PromptEncoder], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="static encoder"):
        trainable(encoders["static"], tmp_path, **settings)


def test_only_the_vectors_of_tokens_that_occur_are_trained(encoders: dict[str, PromptEncoder], tmp_path: Path) -> None:
    frozen = encoders["static"]
    module = trainable(frozen, tmp_path, "full")
    occurring = torch.cat(frozen.tokenize_rows(PROMPTS)).unique().tolist()
    rows = {len(p) for p in module.parameters() if p.requires_grad}
    assert rows == {len({0, *occurring})} and max(rows) < len(frozen.table)
    some_steps(module)
    moved = (module.finish().table != frozen.table).any(1).nonzero().flatten().tolist()
    assert moved == sorted(occurring)


def test_above_the_table_of_a_static_encoder_token_weights_are_trained(
    encoders: dict[str, PromptEncoder], tmp_path: Path
) -> None:
    module = trainable(encoders["static"], tmp_path, "last_layers")
    trained = {name.rsplit(".", 1)[-1] for name, p in module.named_parameters() if p.requires_grad}
    assert trained == {"log_weight"}


def test_last_layers_trains_these_alone(encoders: dict[str, PromptEncoder], tmp_path: Path) -> None:
    module = trainable(encoders["bert"], tmp_path, "last_layers")
    names = [name for name, p in module.encoder.network.named_parameters() if p.requires_grad]
    assert names and all(name.startswith("encoder.layer.1.") for name in names)
    before = {name: p.clone() for name, p in module.encoder.network.named_parameters()}
    some_steps(module)
    changed = {name for name, p in module.encoder.network.named_parameters() if not torch.equal(p, before[name])}
    assert changed and changed <= set(names)


def test_first_weights_of_lora_depend_on_the_seed_alone(encoders: dict[str, PromptEncoder], tmp_path: Path) -> None:
    def first_weights(seed: int) -> list[torch.Tensor]:
        config = EncoderTrainingConfig(mode="lora")
        module = make_trainable(encoders["bert"], PROMPTS, config, cache_dir=tmp_path, seed=seed)
        return [p.detach() for p in module.parameters() if p.requires_grad]

    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    one, same, other = first_weights(3), first_weights(3), first_weights(4)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_lora_changes_the_named_modules_alone(encoders: dict[str, PromptEncoder], tmp_path: Path) -> None:
    module = trainable(encoders["qwen2"], tmp_path, "lora", lora_targets=["q_proj"])
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    assert names and all(".q_proj.lora_" in name for name in names)


@pytest.mark.parametrize("kind", ["bert", "modernbert", "qwen2"])
def test_checkpointing_changes_no_gradient_and_runs_layers_twice(
    kind: str, encoders: dict[str, PromptEncoder], tmp_path: Path
) -> None:
    gradients, passes = [], []
    for checkpointing in (False, True):
        module = trainable(encoders[kind], tmp_path, "full", gradient_checkpointing=checkpointing).train()
        inner = next(
            m
            for n, m in module.named_modules()
            if n.endswith(("layer.1.attention", "layers.1.attn", "layers.1.self_attn"))
        )
        count = [0]
        inner.register_forward_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        module(ROWS).square().sum(0)[:3].sum().backward()
        gradients.append([p.grad for p in module.parameters() if p.grad is not None])
        passes.append(count[0])
    assert passes == [1, 2]
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_no_dropout_even_in_training_mode(encoders: dict[str, PromptEncoder], tmp_path: Path) -> None:
    module = trainable(encoders["bert"], tmp_path, "full", gradient_checkpointing=True).train()
    assert any(isinstance(part, torch.nn.Dropout) and part.p > 0 for part in module.modules())
    assert torch.equal(module(ROWS), module(ROWS))


def test_a_prompt_without_tokens_gets_zero_and_no_bad_gradient(
    encoders: dict[str, PromptEncoder], tmp_path: Path
) -> None:
    module = trainable(encoders["llama"], tmp_path, "full")
    embedding = module(ROWS)
    assert not embedding[PROMPTS.index("") == ROWS].any()
    embedding[:, 0].sum().backward()
    assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)


def test_embeddings_are_float32_under_bfloat16(encoders: dict[str, PromptEncoder], tmp_path: Path) -> None:
    module = trainable(encoders["bert"], tmp_path, "full")
    with torch.autocast("cpu", torch.bfloat16):
        embedding = module(ROWS)
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding, module(ROWS), atol=0.05, rtol=0)


@pytest.mark.parametrize("kind", ["modernbert", "qwen2"])
def test_last_layers_of_other_kinds_are_refused(kind: str, encoders: dict[str, PromptEncoder], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^encoder_training.mode: got last_layers with .* {kind}, expected one of"):
        trainable(encoders[kind], tmp_path, "last_layers")


def test_more_layers_than_there_are_are_refused(encoders: dict[str, PromptEncoder], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^encoder_training.num_layers: got 3, expected at most the 2 layers"):
        trainable(encoders["bert"], tmp_path, "last_layers", num_layers=3)


def test_unknown_targets_of_lora_are_refused(encoders: dict[str, PromptEncoder], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^encoder_training.lora_targets: got \['wings'\].*such as query, key"):
        trainable(encoders["bert"], tmp_path, "lora", lora_targets=["wings"])


def test_lora_without_its_package_says_what_to_install(
    encoders: dict[str, PromptEncoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"got lora, which needs the package peft. Run `pip install"):
        trainable(encoders["bert"], tmp_path, "lora")


COMPILED = """
import sys
from pathlib import Path
import torch
from tiny_encoder import PROMPTS
from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.encoder.trainable import make_trainable
from unirouter_torch.encoder.prompt_encoder import PromptEncoder

torch.compiler.set_default_backend("aot_eager")  # the same graphs without a minute of C++
encoder = PromptEncoder.from_pretrained(sys.argv[1])
rows, found = torch.arange(len(PROMPTS)), []
for compiled in (False, True):
    config = EncoderTrainingConfig(mode="full", compile=compiled)
    module = make_trainable(encoder, PROMPTS, config, cache_dir=Path(sys.argv[2]), seed=0)
    embedding = module(rows)
    embedding[:, 0].sum().backward()
    found.append([embedding.detach(), module(rows[:2]).detach(), *(p.grad for p in module.parameters())])
for plain, other in zip(*found, strict=True):
    torch.testing.assert_close(other, plain)
module.finish().save_pretrained(Path(sys.argv[2]) / "saved")
print(torch._dynamo.utils.counters["stats"]["unique_graphs"])
"""


def test_compiled_encoder_has_the_same_embeddings_and_gradients(
    encoders: dict[str, PromptEncoder], tmp_path: Path
) -> None:
    tests = Path(tiny_encoder.__file__).parent
    command = [sys.executable, "-c", COMPILED, encoders["bert"].name, str(tmp_path)]
    code = f"import sys; sys.path.insert(0, {str(tests)!r})\n" + COMPILED
    command[2] = code
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 0
