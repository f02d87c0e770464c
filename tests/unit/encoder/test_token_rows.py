import torch

from unirouter_torch.encoder.token_rows import (
    batches_by_length,
    batches_by_tokens,
    distinct_texts,
    pad_rows,
    rows_of_ids,
)


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
