"""The output of the lower layers, from the network and from disk."""

from pathlib import Path

import pytest
import tiny_encoder
import torch
from tiny_encoder import PROMPTS

from unirouter_torch.encoder.layer_cache import lower_layers_with_cache
from unirouter_torch.encoder.layers import LastLayers
from unirouter_torch.encoder.padding import pad_rows
from unirouter_torch.encoder.prompt_encoder import PromptEncoder


@pytest.fixture(scope="module", params=["bert", "roberta"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PromptEncoder:
    save = {"bert": tiny_encoder.save_bert, "roberta": tiny_encoder.save_roberta}[request.param]
    return PromptEncoder.from_pretrained(str(save(tmp_path_factory.mktemp("encoder") / request.param)))


@pytest.mark.parametrize("num_layers", [1, 2])
def test_both_parts_together_are_the_encoder(encoder: PromptEncoder, num_layers: int, tmp_path: Path) -> None:
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 5e-3)):
        hidden = lower_layers_with_cache(encoder, num_layers, PROMPTS, cache_dir=tmp_path, dtype=dtype)
        assert [len(row) for row in hidden] == [len(row) for row in encoder.tokenize_rows(PROMPTS)]
        embedding = LastLayers(encoder, num_layers)(*pad_rows(hidden, 0)).detach()
        torch.testing.assert_close(embedding, encoder.embed(PROMPTS), atol=tolerance, rtol=0)


def test_second_call_reads_what_the_first_wrote(encoder: PromptEncoder, tmp_path: Path) -> None:
    first = lower_layers_with_cache(encoder, 1, PROMPTS, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    second = lower_layers_with_cache(encoder, 1, PROMPTS, cache_dir=tmp_path)
    assert path.stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_file_depends_on_layer_prompts_longest_prompt_and_weights(encoder: PromptEncoder, tmp_path: Path) -> None:
    short = PromptEncoder.from_pretrained(encoder.name, max_length=8)
    other = PromptEncoder.from_pretrained(encoder.name)
    with torch.no_grad():
        next(other.network.parameters()).add_(1e-3)
    for number, (changed, num_layers, texts) in enumerate(
        [
            (encoder, 1, PROMPTS),
            (encoder, 2, PROMPTS),
            (encoder, 1, PROMPTS[:3]),
            (short, 1, PROMPTS),
            (other, 1, PROMPTS),
        ]
    ):
        lower_layers_with_cache(changed, num_layers, texts, cache_dir=tmp_path)
        assert len(list(tmp_path.iterdir())) == number + 1


def test_damaged_file_is_made_anew(encoder: PromptEncoder, tmp_path: Path) -> None:
    first = lower_layers_with_cache(encoder, 1, PROMPTS, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.warns(UserWarning, match="computed anew"):
        again = lower_layers_with_cache(encoder, 1, PROMPTS, cache_dir=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_folder_that_cannot_be_written_costs_a_warning(encoder: PromptEncoder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="without the cache"):
        hidden = lower_layers_with_cache(encoder, 1, PROMPTS, cache_dir=tmp_path / "file")
    assert len(hidden) == len(PROMPTS)
