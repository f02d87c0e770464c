import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_encoder
import torch
from tiny_encoder import PROMPTS

from unirouter_torch.encoder import embedding_cache
from unirouter_torch.encoder.embedding_cache import embed_with_cache
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import DataError
from unirouter_torch.storage import write_tensors

Spy = Callable[[PromptEncoder], list[int]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_encoder.save_bert(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def encoder(folder: str) -> PromptEncoder:
    return PromptEncoder.from_pretrained(folder)


@pytest.fixture(autouse=True)
def parts_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "PART_SIZE", 2)


@pytest.fixture
def count_embedded(monkeypatch: pytest.MonkeyPatch) -> Spy:
    """Make an encoder note how many prompts each call to ``embed_rows`` got."""

    def spy(encoder: PromptEncoder) -> list[int]:
        sizes: list[int] = []
        embed_rows = encoder.embed_rows

        def noting_embed(rows: list[torch.Tensor]) -> torch.Tensor:
            sizes.append(len(rows))
            return embed_rows(rows)

        monkeypatch.setattr(encoder, "embed_rows", noting_embed)
        return sizes

    return spy


def only_file(cache_dir: Path) -> Path:
    (file,) = cache_dir.iterdir()
    return file


def test_second_call_reads_what_the_first_computed(encoder: PromptEncoder, count_embedded: Spy, tmp_path: Path) -> None:
    expected = encoder.embed(PROMPTS)
    sizes = count_embedded(encoder)
    first = embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path / "cache")
    assert sizes == [1, 2, 2, 2]
    second = embed_with_cache(encoder, tuple(PROMPTS), cache_dir=tmp_path / "cache")
    assert sizes == [1, 2, 2, 2]
    torch.testing.assert_close(first, expected)
    assert torch.equal(second, first)
    assert only_file(tmp_path / "cache").suffix == ".safetensors"


def test_other_prompts_lengths_and_weights_are_told_apart(
    folder: str, encoder: PromptEncoder, count_embedded: Spy, tmp_path: Path
) -> None:
    shorter = PromptEncoder.from_pretrained(folder, max_length=8)
    tuned = PromptEncoder.from_pretrained(folder)
    with torch.no_grad():
        for weight in tuned.network.parameters():
            weight.mul_(1.1)
    for other, texts in [
        (encoder, ["ab", "c"]),
        (encoder, ["a", "bc"]),
        (encoder, ["c", "ab"]),
        (shorter, ["ab", "c"]),
    ]:
        sizes = count_embedded(other)
        embed_with_cache(other, texts, cache_dir=tmp_path)
        assert sizes == [2]
    sizes = count_embedded(tuned)
    embed_with_cache(tuned, ["ab", "c"], cache_dir=tmp_path)
    assert sizes == [2]


def test_interrupted_run_goes_on_where_it_stopped(
    encoder: PromptEncoder, monkeypatch: pytest.MonkeyPatch, count_embedded: Spy, tmp_path: Path
) -> None:
    expected = encoder.embed(PROMPTS)
    embed_rows = encoder.embed_rows
    singing = encoder.tokenize_rows(["the otter sings"])[0].tolist()

    def embed_until_the_otter_sings(rows: list[torch.Tensor]) -> torch.Tensor:
        if singing in [row.tolist() for row in rows]:
            raise KeyboardInterrupt
        return embed_rows(rows)

    with monkeypatch.context() as patch:
        patch.setattr(encoder, "embed_rows", embed_until_the_otter_sings)
        with pytest.raises(KeyboardInterrupt):
            embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path)
    sizes = count_embedded(encoder)
    torch.testing.assert_close(embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path), expected)
    assert sizes == [2, 2]
    assert only_file(tmp_path).is_file()


@pytest.mark.parametrize("damage", ["cut", "empty", "rows", "columns", "name", "type", "folder"])
def test_damaged_file_is_made_anew_with_a_warning(damage: str, encoder: PromptEncoder, tmp_path: Path) -> None:
    expected = embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path)
    file = only_file(tmp_path)
    whole = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(whole[:-8])
        case "empty":
            file.write_bytes(b"")
        case "rows":
            write_tensors(file, {"embedding": expected[1:]})
        case "columns":
            write_tensors(file, {"embedding": expected[:, 1:]})
        case "name":
            write_tensors(file, {"vector": expected})
        case "type":
            write_tensors(file, {"embedding": expected.double()})
        case "folder":
            file.unlink()
            file.mkdir()
    with pytest.warns(UserWarning, match="anew") as caught:
        torch.testing.assert_close(embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path), expected)
    assert str(file) in str(caught[0].message)
    if damage != "folder":
        assert file.read_bytes() == whole


def test_embeddings_come_even_where_nothing_can_be_written(encoder: PromptEncoder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match="going on without the cache") as caught:
        embedding = embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path / "file" / "cache")
    assert str(tmp_path / "file" / "cache") in str(caught[0].message)
    torch.testing.assert_close(embedding, encoder.embed(PROMPTS))


def test_no_prompts_need_no_file(encoder: PromptEncoder, tmp_path: Path) -> None:
    assert embed_with_cache(encoder, [], cache_dir=tmp_path).shape == (0, encoder.dim)
    assert list(tmp_path.iterdir()) == []


def test_one_string_is_no_list_of_prompts(encoder: PromptEncoder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one string"):
        embed_with_cache(encoder, "otter", cache_dir=tmp_path)


def test_embeddings_can_be_trained_on(encoder: PromptEncoder, tmp_path: Path) -> None:
    for _ in range(2):
        embedding = embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path)
        torch.nn.Linear(encoder.dim, 2)(embedding).sum().backward()


def test_bar_is_drawn_unless_it_is_switched_off(
    encoder: PromptEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path / "quiet", show_progress=False)
    assert capsys.readouterr() == ("", "")
    embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path / "loud")
    assert f"Embedding {len(PROMPTS)} prompts: 100%" in capsys.readouterr().err


def test_half_a_surrogate_pair_can_be_cached(encoder: PromptEncoder, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert embed_with_cache(encoder, ["otter \ud83d"], cache_dir=tmp_path).shape == (1, encoder.dim)


def test_longest_prompts_come_first(encoder: PromptEncoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lengths: list[int] = []
    embed_rows = encoder.embed_rows

    def noting_embed(rows: list[torch.Tensor]) -> torch.Tensor:
        lengths.extend(map(len, rows))
        return embed_rows(rows)

    monkeypatch.setattr(encoder, "embed_rows", noting_embed)
    # "nobody counts" has more characters than "a a a a", and fewer tokens
    embed_with_cache(encoder, ["a a a a", "nobody counts", "a", "a a", "why"], cache_dir=tmp_path)
    assert lengths == [6, 4, 4, 3, 3]


def test_equal_prompts_are_embedded_once(encoder: PromptEncoder, count_embedded: Spy, tmp_path: Path) -> None:
    texts = ["otter", "kites", "otter", "otter"]
    expected = encoder.embed(texts)
    sizes = count_embedded(encoder)
    for _ in range(2):
        torch.testing.assert_close(embed_with_cache(encoder, texts, cache_dir=tmp_path), expected)
    assert sizes == [2]


def test_part_of_other_prompts_is_not_taken_for_ours(
    encoder: PromptEncoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An interrupted run is gone on with by a version that parts the prompts in another way."""
    expected = encoder.embed(PROMPTS)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        whole = embedding_cache.write_cached

        def write_but_two(path: Path, name: str, tensor: torch.Tensor) -> None:
            if len(list(path.parent.glob("*"))) == 2:
                raise KeyboardInterrupt
            whole(path, name, tensor)

        patch.setattr(embedding_cache, "write_cached", write_but_two)
        embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path)
    assert len(list(tmp_path.glob("*.parts/*"))) == 2
    monkeypatch.setattr(embedding_cache, "batches_by_length", lambda lengths, size: [[0, 1], [2, 3], [4, 5], [6]])
    torch.testing.assert_close(embed_with_cache(encoder, PROMPTS, cache_dir=tmp_path), expected)
