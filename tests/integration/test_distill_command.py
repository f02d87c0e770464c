from functools import partial
from pathlib import Path

import pytest
import tiny_encoder

from unirouter_torch.cli import main
from unirouter_torch.config.training import TrainConfig, TrainerConfig
from unirouter_torch.encoder.distillation import STATE_FILE
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.static_encoder import StaticEncoder


def test_static_encoder_is_written_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_steps = partial(TrainConfig, trainer=TrainerConfig(max_steps=20))
    monkeypatch.setattr("unirouter_torch.experiments.distill.TrainConfig", few_steps)
    transformer = tiny_encoder.save_bert(tmp_path / "bert")
    (tmp_path / "more.txt").write_text("the otter sings\nseven red kites\n")
    folder, texts = tmp_path / "static", ["simulated:60x6", str(tmp_path / "more.txt")]
    command = ["distill", "--encoder", str(transformer), "--output", str(folder), "--texts", *texts]
    folder.mkdir()
    (folder / STATE_FILE).write_bytes(b"what an interrupted run left, damaged")
    options = ["--dim", "8", "--num-passes", "2", "--trials", "1", "--cache-dir", str(tmp_path / "cache")]
    assert main([*command, *options]) == 0
    printed = capsys.readouterr().out
    assert "8 dimensions" in printed and "cosine with the transformer" in printed
    assert "simulated:60x6: area " in printed and "mean of 1 trials" in printed
    encoder = PromptEncoder.from_pretrained(str(folder))
    assert isinstance(encoder, StaticEncoder)
    assert (encoder.text_dim, encoder.dtype, encoder.form_dim > 0) == (8, "int8", True)
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "config.json",
        "config_sentence_transformers.json",
        "form.json",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
    ]


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--dim", "0"], "dim"), (["--texts", "nowhere.txt"], "nowhere.txt"), (["--output", "."], "something else")],
)
def test_mistakes_end_the_command(
    options: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_encoder.save_bert(tmp_path / "bert")
    assert main(["distill", "--encoder", "bert", "--output", "static", *options]) == 2
    assert named in capsys.readouterr().err
