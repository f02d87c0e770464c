import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_encoder
import torch
from safetensors.torch import load_file, save_file
from tiny_encoder import PROMPTS
from tokenizers import Tokenizer

from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.static_encoder import StaticEncoder, pack_table, unpack_table
from unirouter_torch.errors import ArtifactError, ConfigError
from unirouter_torch.storage import read_json, write_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_encoder.save_static(tmp_path / "static")


@pytest.fixture
def encoder(folder: Path) -> StaticEncoder:
    return load(folder)


def load(folder: Path, **options: object) -> StaticEncoder:
    encoder = PromptEncoder.from_pretrained(str(folder), **options)  # type: ignore[arg-type]
    assert isinstance(encoder, StaticEncoder)
    return encoder


def by_hand(folder: Path, texts: list[str]) -> torch.Tensor:
    """The unit-length mean of the vectors of the tokens, in a loop."""
    vectors = load_file(folder / "model.safetensors")["embeddings"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    means = [vectors[ids].mean(0) if ids else torch.zeros(vectors.shape[1]) for ids in rows]
    return torch.nn.functional.normalize(torch.stack(means), dim=-1)


def test_embedding_is_the_unit_length_mean_of_token_vectors(folder: Path, encoder: StaticEncoder) -> None:
    found = encoder.embed(PROMPTS)
    torch.testing.assert_close(found, by_hand(folder, PROMPTS))
    assert torch.equal(found[PROMPTS.index("")], torch.zeros(tiny_encoder.DIM))


ODD = [
    "",
    " ",
    "\0",
    "a\ud800b",
    "e\u0301 \u00e9",
    "\u4f60\u597d otter",
    "\U0001f9a6" * 40,
    "\u200d\ufeff\xa0kites",
    "the otter " * 900,
]


@pytest.mark.parametrize("form_weight", [0.0, 1.0])
def test_many_prompts_are_embedded_as_one_is_to_the_last_bit(folder: Path, form_weight: float) -> None:
    encoder, texts = load(folder, form_weight=form_weight), [*PROMPTS, *ODD, *PROMPTS]
    together = encoder.embed(texts)
    assert together.isfinite().all()
    assert torch.equal(torch.cat([encoder.embed([text]) for text in texts]), together)
    assert encoder.embed([]).shape == (0, encoder.dim)


def test_padded_and_joined_tokens_give_the_same(encoder: StaticEncoder) -> None:
    texts = [*PROMPTS, *ODD]
    encoder.add_trainable_parts(with_table=True)
    for part in (encoder.table_change, encoder.log_weight):
        assert part is not None
        torch.nn.init.normal_(part, std=0.1)
    torch.testing.assert_close(encoder(**encoder.tokenize(texts)), encoder.embed_rows(encoder.tokenize_rows(texts)))


def test_prompts_are_read_whole_unless_the_config_cuts_them(folder: Path, encoder: StaticEncoder) -> None:
    assert len(encoder.tokenize_rows(["kites " * 5000])[0]) == 5000
    short = load(folder, max_length=8)
    assert [len(row) for row in short.tokenize_rows(["kites " * 100, "a"])] == [8, 1]
    torch.testing.assert_close(short.embed(["otter " * 8 + "kites " * 9]), encoder.embed(["otter " * 8]))
    with pytest.raises(ConfigError, match=r"encoder\.max_length"):
        load(folder, max_length=7)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_saved_encoder_is_the_same_to_the_last_bit(encoder: StaticEncoder, dtype: str, tmp_path: Path) -> None:
    kept = StaticEncoder(encoder.table, encoder.tokenizer, encoder.recipe, name="kept", dtype=dtype)  # type: ignore[arg-type]
    kept.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.dtype == dtype
    torch.testing.assert_close(again.embed(PROMPTS), kept.embed(PROMPTS), rtol=0, atol=1e-6)
    again.save_pretrained(tmp_path / "again")
    assert load(tmp_path / "again").fingerprint() == again.fingerprint()


def test_int8_rows_are_rounded_to_half_a_step_of_their_own_scale() -> None:
    table = torch.randn(20, 5) * torch.logspace(-3, 3, 20)[:, None]
    table[4] = 0
    vectors, scale = pack_table(table, "int8")
    assert vectors.dtype == torch.int8
    error = (unpack_table(vectors, scale) - table).abs().amax(1)
    assert (error <= table.abs().amax(1) / 127 / 2 + 1e-7).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_sentence_transformers_loads_what_is_saved(encoder: StaticEncoder, dtype: str, tmp_path: Path) -> None:
    package = pytest.importorskip("sentence_transformers", reason="sentence-transformers is the reference")
    kept = StaticEncoder(encoder.table, encoder.tokenizer, encoder.recipe, name="kept", dtype=dtype)  # type: ignore[arg-type]
    kept.save_pretrained(tmp_path / "saved")
    texts = [text for text in PROMPTS if text]
    found = package.SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(found.float(), kept.embed(texts), rtol=0, atol=2e-3 if dtype == "float16" else 1e-5)


def test_folder_of_sentence_transformers_is_read(folder: Path, tmp_path: Path) -> None:
    """Table and tokenizer in a folder of their own under another name, and a linear map after the mean."""
    vectors = load_file(folder / "model.safetensors")["embeddings"]
    moved = tmp_path / "moved"
    for part in ("0_StaticEmbedding", "1_Dense"):
        (moved / part).mkdir(parents=True)
    save_file({"embedding.weight": vectors}, moved / "0_StaticEmbedding" / "model.safetensors")
    shutil.copy(folder / "tokenizer.json", moved / "0_StaticEmbedding" / "tokenizer.json")
    weight = torch.randn(6, tiny_encoder.DIM)
    save_file({"linear.weight": weight}, moved / "1_Dense" / "model.safetensors")
    dense = {"bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
    write_json(moved / "1_Dense" / "config.json", dense)
    modules = [("StaticEmbedding", "0_StaticEmbedding"), ("Dense", "1_Dense"), ("Normalize", "2_Normalize")]
    write_json(
        moved / "modules.json",
        [{"type": f"sentence_transformers.models.{name}", "path": path} for name, path in modules],
    )
    expected = torch.nn.functional.normalize(load(folder).embed(PROMPTS) @ weight.T, dim=-1)
    torch.testing.assert_close(load(moved).embed(PROMPTS), expected)
    write_json(moved / "1_Dense" / "config.json", dense | {"bias": True})
    with pytest.raises(ArtifactError, match="bias"):
        load(moved)


def test_folder_of_model2vec_is_read(folder: Path) -> None:
    """Shared vectors by a mapping, weights, and unknown tokens that play no part."""
    vectors = load_file(folder / "model.safetensors")["embeddings"]
    mapping, weights = torch.arange(len(vectors)).flip(0), torch.linspace(0.1, 2, len(vectors))
    save_file({"embeddings": vectors.flip(0), "mapping": mapping, "weights": weights}, folder / "model.safetensors")
    (folder / "modules.json").unlink()
    write_json(folder / "config.json", {"model_type": "model2vec", "normalize": True})
    encoder = load(folder)
    ids = encoder.tokenize_rows(["otter kites"])[0].long()
    expected = torch.nn.functional.normalize((vectors * weights[:, None])[ids].mean(0), dim=-1)
    torch.testing.assert_close(encoder.embed(["otter kites"])[0], expected)
    torch.testing.assert_close(encoder.embed(["otter zebra kites zebra"])[0], expected)


def test_damage_is_named(folder: Path) -> None:
    vectors = load_file(folder / "model.safetensors")["embeddings"]
    save_file({"embeddings": vectors[:5]}, folder / "model.safetensors")
    with pytest.raises(ArtifactError, match="5 rows"):
        load(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match="static encoder"):
        load(folder)


def test_form_stands_beside_the_embedding_and_is_saved_with_it(folder: Path, tmp_path: Path) -> None:
    plain, formed = load(folder), load(folder, form_weight=2.0)
    found = formed.embed(PROMPTS)
    assert torch.equal(found[:, : tiny_encoder.DIM], plain.embed(PROMPTS))
    assert torch.equal(found[:, tiny_encoder.DIM :], PromptForm.typical(2.0).of_texts(PROMPTS))
    assert formed.dim == found.shape[1]
    assert formed.fingerprint() != plain.fingerprint()
    formed.save_pretrained(tmp_path / "saved")
    assert torch.equal(load(tmp_path / "saved").embed(PROMPTS), found)
    assert load(tmp_path / "saved", form_weight=0.0).dim == tiny_encoder.DIM
    assert read_json(tmp_path / "saved" / "form.json")["weight"] == 2.0


def test_trainable_parts_change_nothing_until_they_are_trained_and_stay_when_folded(encoder: StaticEncoder) -> None:
    before = encoder.embed(PROMPTS)
    encoder.add_trainable_parts(with_table=True)
    assert torch.equal(encoder.embed(PROMPTS), before)
    with torch.no_grad():
        for part in (encoder.table_change, encoder.log_weight):
            assert part is not None
            part.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    trained = encoder.embed(PROMPTS)
    assert not torch.allclose(trained, before, atol=1e-2)
    encoder.fold_trainable_parts()
    torch.testing.assert_close(encoder.embed(PROMPTS), trained)
    assert [name for name, _ in encoder.named_parameters()] == ["table"]


def test_gradients_reach_each_trainable_part(encoder: StaticEncoder) -> None:
    encoder.add_trainable_parts(with_table=True)
    encoder(**encoder.tokenize(PROMPTS[:4])).square().sum(0)[0].backward()
    for part in (encoder.table_change, encoder.log_weight):
        assert part is not None and part.grad is not None and part.grad.abs().sum() > 0
    assert encoder.table.grad is None


def test_transformers_is_not_imported(folder: Path) -> None:
    program = (
        "import sys; from unirouter_torch.router.router import Router; "
        "from unirouter_torch.encoder.prompt_encoder import PromptEncoder; "
        f"PromptEncoder.from_pretrained({str(folder)!r}).embed(['otter']); print('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
