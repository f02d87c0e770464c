from pathlib import Path

import pytest
import tiny_encoder
import torch
from tiny_encoder import PROMPTS

from unirouter_torch.config.distillation import DistillationSettings
from unirouter_torch.encoder.distillation import STATE_FILE, Distilled, Mimicry, distill
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ConfigError

TEXTS = [[f"{one} {other}" for one in PROMPTS[:4] for other in PROMPTS[:4]], [f"{one} clock" for one in PROMPTS[:4]]]
SETTINGS = DistillationSettings(dim=6, dtype="float32", num_passes=6, batch_size=4, learning_rate=0.05)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> PromptEncoder:
    return PromptEncoder.from_pretrained(str(tiny_encoder.save_bert(tmp_path_factory.mktemp("bert") / "encoder")))


def run(transformer: PromptEncoder, folder: Path, **settings: object) -> Distilled:
    chosen = DistillationSettings(**{**vars(SETTINGS), **settings})  # type: ignore[arg-type]
    return distill(transformer, TEXTS, chosen, cache_dir=folder / "cache", state_folder=folder, name="distilled")


def mimicry(num_passes: int) -> Mimicry:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, 9, (length,), generator=generator).int() for length in range(1, 41)]
    wanted = torch.randn(9, 4, generator=generator)
    target = torch.nn.functional.normalize(torch.stack([wanted[row.long()].mean(0) for row in rows]), dim=-1)
    settings = DistillationSettings(num_passes=num_passes, batch_size=8, learning_rate=0.05)
    return Mimicry(torch.randn(9, 4, generator=generator), rows, target, settings)


def test_static_encoder_comes_nearer_to_the_transformer(transformer: PromptEncoder, tmp_path: Path) -> None:
    found = run(transformer, tmp_path)
    assert found.num_passes > 0
    assert found.cosine > found.cosine_before
    assert found.encoder.text_dim == 6 and found.encoder.form_dim > 0
    assert not (tmp_path / STATE_FILE).exists()


def test_what_a_mean_of_vectors_can_say_is_learned() -> None:
    mimic = mimicry(num_passes=60)
    before = mimic.cosine()
    for number in range(1, 61):
        mimic._pass_once(number)
    assert before < 0.6 and mimic.cosine() > 0.95


def test_table_of_the_highest_cosine_is_kept(tmp_path: Path) -> None:
    mimic = mimicry(num_passes=3)
    cosines = [mimic.cosine()]
    for number in range(1, 4):
        mimic._pass_once(number)
        cosines.append(mimic.cosine())
    again = mimicry(num_passes=3)
    assert again.tune(tmp_path / STATE_FILE) == max(range(4), key=cosines.__getitem__)
    assert again.cosine() == max(cosines)


def test_interrupted_tuning_goes_on_to_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = mimicry(num_passes=5)
    whole.tune(tmp_path / "whole" / STATE_FILE)
    interrupted = mimicry(num_passes=5)
    pass_once = interrupted._pass_once

    def pass_until_the_fourth(number: int) -> None:
        if number == 4:
            raise KeyboardInterrupt
        pass_once(number)

    monkeypatch.setattr(interrupted, "_pass_once", pass_until_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        interrupted.tune(tmp_path / STATE_FILE)
    assert (tmp_path / STATE_FILE).exists()
    resumed, passes = mimicry(num_passes=5), []
    monkeypatch.setattr(
        resumed, "_pass_once", lambda number: (passes.append(number), Mimicry._pass_once(resumed, number))
    )
    resumed.tune(tmp_path / STATE_FILE)
    assert passes == [4, 5]
    assert torch.equal(resumed.table, whole.table)


def test_state_of_another_tuning_is_not_taken_up(tmp_path: Path) -> None:
    other = mimicry(num_passes=2)
    other._pass_once(1)
    other._keep(tmp_path / STATE_FILE, "another", other.table.detach().clone(), 1.0, 1, 1)
    mimic, fresh = mimicry(num_passes=1), mimicry(num_passes=1)
    mimic.tune(tmp_path / STATE_FILE)
    fresh.tune(tmp_path / "fresh" / STATE_FILE)
    assert torch.equal(mimic.table, fresh.table)


def test_frequent_tokens_count_less(transformer: PromptEncoder, tmp_path: Path) -> None:
    found = run(transformer, tmp_path, num_passes=0, form_weight=0.0)
    length = found.encoder.table.norm(dim=1)
    tokens = found.encoder.tokenizer.get_vocab()
    often, never = tokens["clock"], tokens["question"]
    assert length[often] < 0.1 * length[never]


def test_without_prompts_nothing_is_tuned(transformer: PromptEncoder, tmp_path: Path) -> None:
    found = distill(transformer, [], SETTINGS, cache_dir=tmp_path, state_folder=tmp_path, name="distilled")
    assert found.num_passes == 0
    assert found.encoder.embed(PROMPTS).isfinite().all()


def test_ranges_are_checked() -> None:
    with pytest.raises(ConfigError, match="dim"):
        DistillationSettings(dim=0)
