import dataclasses
from pathlib import Path

import pytest
import yaml

from unirouter_torch.config.files import parse_config, to_plain, write_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[3] / "configs").rglob("*.yaml"))

DOTTED_KEYS = {
    "": ["seed", "output_dir", "logger"],
    "data.": [
        "path",
        "tables",
        "cost",
        "group_column",
        "same_llm",
        "unseen_fraction",
        "num_calibration",
        "calibration",
        "cache_dir",
    ],
    "encoder.": ["name", "revision", "max_length", "form_weight", "keep", "conversation", "backend"],
    "head.": ["num_clusters", "sharpness", "initial_shrinkage", "far_clusters", "start_from"],
    "episodes.": ["num_targets", "min_calibration", "max_calibration", "llm_fraction", "held_out_fraction"],
    "optimizer.": ["learning_rate", "weight_decay", "warmup_fraction"],
    "encoder_training.": [
        *("mode", "num_layers", "lora_rank", "lora_alpha", "lora_targets", "learning_rate", "num_prompts"),
        *("accumulate", "gradient_clip", "gradient_checkpointing", "precision", "compile"),
        *("max_steps", "validate_every", "patience"),
    ],
    "trainer.": ["max_steps", "validate_every", "accelerator", "devices", "num_nodes", "strategy"],
    "evaluation.": ["methods", "reference"],
    "evaluation.sweeps.": ["num_trials", "num_calibration", "num_clusters", "num_seen_llms"],
    "evaluation.curve.": ["cost_axis", "interpolation", "left"],
}


def dotted(plain: dict, prefix: str = "") -> list[str]:
    keys = []
    for key, value in plain.items():
        keys += dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return keys


def test_dotted_keys_are_those_that_other_peoples_scripts_rely_on() -> None:
    assert dotted(to_plain(TrainConfig())) == [prefix + key for prefix, keys in DOTTED_KEYS.items() for key in keys]


def every_config(kind: type) -> list[type]:
    nested = [field.type for field in dataclasses.fields(kind) if dataclasses.is_dataclass(field.type)]
    return [kind, *(inner for outer in nested for inner in every_config(outer))]


@pytest.mark.parametrize("kind", every_config(TrainConfig))
def test_every_field_has_a_docstring(kind: type) -> None:
    import inspect

    lines = [line.strip() for line in inspect.getsource(kind).splitlines()]
    for field in dataclasses.fields(kind):
        (row,) = [number for number, line in enumerate(lines) if line.startswith(f"{field.name}: ")]
        assert lines[row + 1].startswith('"""'), field.name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_recipe_parses(path: Path) -> None:
    config = parse_config(["--config", str(path)])
    assert config.output_dir == f"runs/{path.stem}"


def test_arguments_layer_from_left_to_right(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 3\nhead:\n  num_clusters: 8\n")
    config = parse_config(["--head.sharpness", "2", "--config", str(tmp_path / "a.yaml"), "--seed", "4"])
    assert (config.seed, config.head.num_clusters, config.head.sharpness) == (4, 8, 2.0)


def test_written_config_reads_back_equal(tmp_path: Path) -> None:
    config = parse_config(["--data.same_llm", "[[a, b], [c, d]]", "--data.group_column", "family"])
    write_config(config, tmp_path / "config.yaml")
    assert parse_config(["--config", str(tmp_path / "config.yaml")]) == config
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["data"]["same_llm"] == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize(
    "arguments",
    [["--head.clusters", "3"], ["--seed", "many"], ["--logger", "paper"]],
)
def test_unknown_keys_and_wrong_types_end_with_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_config(arguments)
    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) <= 4


def test_unknown_recipe_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no/such/file\.yaml.*recipes are .*quickstart"):
        parse_config(["--config", "no/such/file.yaml"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "-1"),
        ("data.unseen_fraction", "1.0"),
        ("data.num_calibration", "0"),
        ("encoder.max_length", "2"),
        ("head.num_clusters", "0"),
        ("head.sharpness", "0"),
        ("head.initial_shrinkage", "-1"),
        ("episodes.num_targets", "0"),
        ("episodes.min_calibration", "0"),
        ("episodes.max_calibration", "3"),
        ("episodes.llm_fraction", "0"),
        ("episodes.held_out_fraction", "1"),
        ("optimizer.learning_rate", "0"),
        ("optimizer.weight_decay", "-0.1"),
        ("optimizer.warmup_fraction", "1"),
        ("encoder_training.num_layers", "0"),
        ("encoder_training.lora_rank", "0"),
        ("encoder_training.lora_alpha", "0"),
        ("encoder_training.lora_targets", "[]"),
        ("encoder_training.learning_rate", "0"),
        ("encoder_training.num_prompts", "1"),
        ("encoder_training.accumulate", "0"),
        ("encoder_training.gradient_clip", "0"),
        ("encoder_training.max_steps", "0"),
        ("encoder_training.validate_every", "0"),
        ("encoder_training.patience", "0"),
        ("trainer.max_steps", "0"),
        ("trainer.validate_every", "0"),
        ("trainer.devices", "0"),
        ("trainer.num_nodes", "0"),
        ("evaluation.methods", "[zero]"),
        ("evaluation.sweeps.num_trials", "0"),
        ("evaluation.sweeps.num_clusters", "[0]"),
        ("evaluation.sweeps.num_seen_llms", "[1]"),
    ],
)
def test_value_out_of_range_is_refused_by_its_dotted_key(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: got|^{key}: expected"):
        parse_config([f"--{key}", value])
