import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.encoder.pooling import PoolingMode, pool

MODES: list[PoolingMode] = ["mean", "cls", "last_token", "max"]


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
