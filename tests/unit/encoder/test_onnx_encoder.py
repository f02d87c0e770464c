import importlib.util
from pathlib import Path

import pytest
import tiny_encoder
import torch
from tiny_encoder import PROMPTS

from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.encoder import onnx_encoder
from unirouter_torch.encoder.embedding_cache import embed_with_cache
from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.trainable import check_trainable
from unirouter_torch.errors import ConfigError

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

PREFIX = {"prompts": {"ask": "question: "}, "default_prompt_name": "ask"}


MAX_LENGTH = 20


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder, and a cache with its graphs."""
    root = tmp_path_factory.mktemp("onnx")
    tiny_encoder.save_bert(root / "bert", pooling={"pooling_mode_mean_tokens": True}, prompts=PREFIX)
    return root


def load(root: Path, **options) -> PromptEncoder:
    """The encoder; equal lengths share a graph."""
    folder, cache = str(root / "bert"), str(root / "cache")
    return PromptEncoder.from_pretrained(folder, cache_dir=cache, max_length=MAX_LENGTH, **options)


def test_float32_graph_embeds_any_prompts_as_torch_does(root: Path) -> None:
    encoder, expected = load(root, backend="onnx"), load(root).embed(PROMPTS)
    torch.testing.assert_close(encoder.embed(PROMPTS), expected, rtol=0, atol=1e-5)
    for number, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(encoder.embed([prompt])[0], expected[number], rtol=0, atol=1e-5)


@pytest.mark.parametrize("keep", ["head", "tail", "head_and_tail"])
def test_tokens_are_those_of_the_transformer(root: Path, keep: str) -> None:
    expected = load(root, keep=keep).tokenize(PROMPTS)
    for name, tokens in load(root, backend="onnx", keep=keep).tokenize(PROMPTS).items():
        assert torch.equal(tokens, expected[name])


def test_int8_rounds_a_little(root: Path) -> None:
    rounded, expected = load(root, backend="onnx-int8").embed(PROMPTS), load(root).embed(PROMPTS)
    assert 1e-4 < (rounded - expected).abs().max() < 0.3
    assert torch.cosine_similarity(rounded, expected).min() > 0.9


def test_form_stands_beside_the_embedding(root: Path) -> None:
    encoder = load(root, backend="onnx", form_weight=0.5)
    assert torch.equal(encoder.embed(PROMPTS)[:, encoder.text_dim :], PromptForm.typical(0.5).of_texts(PROMPTS))


def test_graph_is_built_once_and_anew_where_it_is_damaged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load(root, backend="onnx-int8").embed(PROMPTS)
    built: list[str] = []
    for step in ("_export", "_round"):
        function = getattr(onnx_encoder, step)

        def spy(*arguments, function=function) -> None:
            built.append(function.__name__)
            function(*arguments)

        monkeypatch.setattr(onnx_encoder, step, spy)
    load(root, backend="onnx-int8")
    assert built == []
    smallest = min((root / "cache").glob("onnx/*/encoder.onnx"), key=lambda path: path.stat().st_size)
    smallest.write_bytes(smallest.read_bytes()[:-9])
    assert torch.equal(load(root, backend="onnx-int8").embed(PROMPTS), expected)
    assert len(built) == 1


def test_each_backend_is_another_encoder_to_the_cache(root: Path, tmp_path: Path) -> None:
    backends = ("torch", "onnx", "onnx-int8")
    encoders = [load(root, backend=backend) for backend in backends]
    assert [encoder.backend for encoder in encoders] == list(backends)
    assert len({encoder.fingerprint() for encoder in encoders}) == 3
    assert load(root, backend="onnx").fingerprint() == encoders[1].fingerprint()
    for encoder in encoders:
        torch.testing.assert_close(embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path), encoder.embed(PROMPTS))
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


def test_what_is_saved_is_the_transformer(root: Path, tmp_path: Path) -> None:
    load(root, backend="onnx-int8").save_pretrained(tmp_path / "saved")
    saved, original = PromptEncoder.from_pretrained(str(tmp_path / "saved")), load(root)
    assert saved.backend == "torch"
    assert torch.equal(saved.embed(PROMPTS), original.embed(PROMPTS))


def test_it_cannot_be_trained(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"encoder_training\.mode: got full .* no gradients"):
        check_trainable(load(root, backend="onnx"), EncoderTrainingConfig(mode="full"))


def test_static_encoder_is_refused(root: Path, tmp_path: Path) -> None:
    tiny_encoder.save_static(tmp_path / "static")
    with pytest.raises(ConfigError, match=r"got onnx, but .* holds a static encoder"):
        PromptEncoder.from_pretrained(str(tmp_path / "static"), backend="onnx")


def test_missing_package_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ConfigError, match=r"encoder\.backend: got onnx-int8, which needs onnxscript.*pip install"):
        load(root, backend="onnx-int8")
