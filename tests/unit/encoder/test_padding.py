import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.encoder.padding import (
    PoolingMode,
    batches_by_length,
    batches_by_tokens,
    pad_rows,
    pool,
)
from unirouter_torch.encoder.prompt_encoder import distinct_texts, rows_of_ids

MODES: list[PoolingMode] = ["mean", "cls", "last_token", "max"]


def test_batches_hold_every_position_once_and_rise_in_length() -> None:
    lengths = [5, 1, 9, 1, 7, 3, 3]
    batches = batches_by_length(lengths, 3)
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert [lengths[position] for batch in batches for position in batch] == sorted(lengths)
    assert sorted(position for batch in batches for position in batch) == list(range(7))


def test_padding_stands_on_the_right_and_is_masked() -> None:
    values, mask = pad_rows([torch.tensor([4, 5]), torch.tensor([6]), torch.tensor([]).long()], 9)
    assert values.tolist() == [[4, 5], [6, 9], [9, 9]]
    assert mask.tolist() == [[1, 1], [1, 0], [0, 0]]
    assert pad_rows([torch.zeros(0, 3)], 0)[0].shape == (1, 1, 3)
    assert pad_rows([], 9)[0].shape == pad_rows([], 9)[1].shape == (0, 1)


def test_batches_by_tokens_fall_in_length_and_keep_to_the_budget() -> None:
    lengths = [5, 1, 9, 1, 7, 3, 3, 0]
    batches = batches_by_tokens(lengths, 10)
    assert batches == [[2], [4], [0, 5], [6, 1, 3], [7]]
    assert batches_by_tokens(lengths, 9 * len(lengths)) == [[2, 4, 0, 5, 6, 1, 3, 7]]
    assert batches_by_tokens([], 10) == []


def test_prompt_beyond_the_budget_is_alone_and_empty_ones_count_as_one_token() -> None:
    assert batches_by_tokens([30, 2, 30], 10) == [[0], [2], [1]]
    assert batches_by_tokens([0, 0, 0], 2) == [[0, 1], [2]]


def test_distinct_texts_come_in_order_with_the_place_of_each() -> None:
    texts = ["b", "a", "b", "c", "a"]
    distinct, place = distinct_texts(texts)
    assert distinct == ["b", "a", "c"]
    assert [distinct[number] for number in place] == texts
    assert distinct_texts([])[1].dtype == torch.int64


def test_rows_of_ids_are_the_tokens_of_each_prompt() -> None:
    for ids in ([[4, 5, 6], [], [7]], [[], []], []):
        rows = rows_of_ids(ids)
        assert [row.tolist() for row in rows] == ids
        assert all(row.dtype == torch.int32 for row in rows)


def padded(tokens: list[torch.Tensor], width: int, side: str, filler: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of tokens of different number in one tensor, with ``filler`` as padding, and their mask."""
    embedding = torch.full((len(tokens), width, tokens[0].shape[1]), filler)
    mask = torch.zeros(len(tokens), width, dtype=torch.int64)
    for row, vectors in enumerate(tokens):
        place = slice(width - len(vectors), width) if side == "left" else slice(0, len(vectors))
        embedding[row, place] = vectors
        mask[row, place] = 1
    return embedding, mask


def reference(mode: PoolingMode, vectors: torch.Tensor) -> torch.Tensor:
    """Pooling of one prompt without padding."""
    by_mode = {"mean": vectors.mean(0), "cls": vectors[0], "last_token": vectors[-1], "max": vectors.max(0).values}
    return by_mode[mode]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", ["left", "right"])
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), extra=st.integers(0, 3), seed=st.integers(0, 99))
def test_padding_on_either_side_changes_nothing(
    mode: PoolingMode, side: str, lengths: list[int], extra: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = [torch.randn(length, 3, generator=generator) - 5 for length in lengths]
    expected = torch.stack([reference(mode, vectors) for vectors in tokens])
    for filler in (0.0, 100.0, -100.0, torch.nan):
        torch.testing.assert_close(pool(mode, *padded(tokens, max(lengths) + extra, side, filler)), expected)


@pytest.mark.parametrize("mode", MODES)
def test_prompt_without_tokens_gets_the_zero_vector(mode: PoolingMode) -> None:
    embedding, mask = torch.full((2, 3, 4), torch.nan), torch.zeros(2, 3, dtype=torch.int64)
    embedding[1, 0], mask[1, 0] = 7.0, 1
    assert torch.equal(pool(mode, embedding, mask), torch.tensor([[0.0] * 4, [7.0] * 4]))


@pytest.mark.parametrize("mode", MODES)
def test_no_gradient_reaches_padding(mode: PoolingMode) -> None:
    embedding = torch.randn(1, 4, 2, requires_grad=True)
    pool(mode, embedding, torch.tensor([[0, 1, 1, 0]])).sum().backward()
    assert embedding.grad is not None
    assert torch.equal(embedding.grad[0, [0, 3]], torch.zeros(2, 2))
    assert embedding.grad[0, [1, 2]].sum() == pytest.approx(2.0)
