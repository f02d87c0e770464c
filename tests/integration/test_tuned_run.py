"""Whole runs that train the encoder, and what becomes of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from miniature import miniature

from unirouter_torch import Router
from unirouter_torch.cli import main
from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ConfigError
from unirouter_torch.experiments.embedded_table import embed_table
from unirouter_torch.experiments.fingerprint import settings_of
from unirouter_torch.experiments.pretrain import pretrain
from unirouter_torch.experiments.run import RunResult, run
from unirouter_torch.experiments.stress import run_stress
from unirouter_torch.methods.end_to_end import EndToEnd

PROMPTS = ["What is 17 plus 25?", "Write a poem about otters.", "kites " * 50]
METHODS = {"zero", "kmeans", "item_response", "clairvoyant_mlp", "source_oracle", "end_to_end"}
SETTINGS = {"learning_rate": 1e-3, "max_steps": 6, "validate_every": 2, "num_layers": 1, "num_prompts": 64}


def tuning_arguments(mode: str) -> list[str]:
    keys = {"mode": mode, **SETTINGS}
    return [part for key, value in keys.items() for part in (f"--encoder_training.{key}", str(value))]


@pytest.fixture(scope="module", params=["full", "last_layers", "lora"])
def tuned(request: pytest.FixtureRequest, workshop: Path) -> tuple[TrainConfig, RunResult]:
    folder = str(workshop / f"tuned_{request.param}")
    config = parse_config(miniature(workshop, *tuning_arguments(request.param), "--output_dir", folder))
    return config, run(config)


def test_saved_router_embeds_and_estimates_as_the_trained_one(tuned: tuple[TrainConfig, RunResult]) -> None:
    config, result = tuned
    loaded = Router.from_pretrained(Path(config.output_dir) / "router")
    torch.testing.assert_close(loaded.estimate_error(PROMPTS), result.router.estimate_error(PROMPTS), rtol=0, atol=1e-6)
    probability = loaded.head(loaded.encoder.embed(list(loaded.calibration.texts)))
    torch.testing.assert_close(probability, loaded.calibration.cluster_probability, rtol=0, atol=1e-5)
    assert loaded.encoder.fingerprint() == result.router.encoder.fingerprint()
    names = set(loaded.encoder.network.state_dict())
    assert names == set(PromptEncoder.from_pretrained(config.encoder.name).network.state_dict())


def test_encoder_of_the_saved_router_is_not_the_frozen_one(tuned: tuple[TrainConfig, RunResult]) -> None:
    config, result = tuned
    frozen = PromptEncoder.from_pretrained(config.encoder.name)
    assert not torch.allclose(result.router.encoder.embed(PROMPTS), frozen.embed(PROMPTS), atol=1e-4)


def test_report_holds_the_tuned_router_beside_the_frozen_one(
    tuned: tuple[TrainConfig, RunResult], result: RunResult
) -> None:
    config, tuned_result = tuned
    methods = json.loads((Path(config.output_dir) / "results.json").read_text())["methods"]
    frozen = result.report.to_json()["methods"]
    assert methods["end_to_end_frozen"] == frozen["end_to_end"]
    assert methods["end_to_end"] != methods["end_to_end_frozen"]
    assert all(methods[name] == frozen[name] for name in ("zero", "knn", "kmeans", "oracle"))
    assert "frozen encoder" in (Path(config.output_dir) / "results.md").read_text()
    assert tuned_result.router.about["unseen_llms"] == methods["end_to_end"]
    assert (Path(config.output_dir) / "logs" / "encoder" / "metrics.csv").exists()


def test_comparison_over_trials_tunes_the_encoder_of_each(workshop: Path, tmp_path: Path) -> None:
    arguments = miniature(workshop, *tuning_arguments("last_layers"), "--output_dir", str(tmp_path))
    methods = ("--evaluation.methods", "[zero, end_to_end, oracle]")
    assert main(["evaluate", "--trials", "1", *arguments, *methods]) == 0
    found = json.loads((tmp_path / "trials" / "seed_0.json").read_text())["methods"]
    assert found["end_to_end"]["chosen"]["encoder_step"] > 0


def test_settings_of_a_kept_trial_know_the_encoder_training_where_there_is_one(config: TrainConfig) -> None:
    embedded = embed_table(config)

    def settings(**changed: object) -> str:
        training = EncoderTrainingConfig(**changed)
        return settings_of(replace(config, encoder_training=training), embedded, EndToEnd)

    assert settings() == settings(max_steps=7)
    assert len({settings(), settings(mode="full"), settings(mode="full", max_steps=7), settings(mode="lora")}) == 4


def test_stress_with_a_trained_encoder_is_refused(workshop: Path) -> None:
    config = parse_config(miniature(workshop, "--encoder_training.mode", "full"))
    with pytest.raises(ConfigError, match=r"^encoder_training.mode: got full, expected frozen"):
        run_stress(config, num_trials=1, num_workers=1)


@pytest.mark.parametrize("mode", ["last_layers", "lora"])
def test_router_without_a_pool_brings_its_trained_encoder(mode: str, workshop: Path, tmp_path: Path) -> None:
    tables = ("--data.tables", "[simulated:240x12]", "--output_dir", str(tmp_path))
    short = ("--trainer.max_steps", "1", "--trainer.validate_every", "1")  # so that the encoder has something to add
    config = parse_config(miniature(workshop, *tables, *short, *tuning_arguments(mode)))
    router = pretrain(config)
    assert router.about["encoder_step"] > 0
    loaded = Router.from_pretrained(tmp_path / "router")
    assert (tmp_path / "router" / "encoder" / "model.safetensors").exists()
    torch.testing.assert_close(loaded.encoder.embed(PROMPTS), router.encoder.embed(PROMPTS), rtol=0, atol=1e-6)
    frozen = PromptEncoder.from_pretrained(config.encoder.name)
    assert not torch.allclose(loaded.encoder.embed(PROMPTS), frozen.embed(PROMPTS), atol=1e-4)
    frozen_again = replace(config.encoder_training, mode="frozen")
    start = replace(config.head, start_from=str(tmp_path / "router"))
    pretrain(replace(config, head=start, encoder_training=frozen_again, output_dir=str(tmp_path / "again")))
    assert Router.from_pretrained(tmp_path / "again" / "router").encoder.fingerprint() == loaded.encoder.fingerprint()
    assert (tmp_path / "again" / "router" / "encoder").exists()


def test_frozen_encoder_is_referred_to_where_no_step_is_better(workshop: Path, tmp_path: Path) -> None:
    tables = ("--data.tables", "[simulated:120x8]", "--output_dir", str(tmp_path))
    gentle = ("--encoder_training.learning_rate", "1e-30", "--optimizer.learning_rate", "1e-30")
    config = parse_config(miniature(workshop, *tables, *tuning_arguments("full"), *gentle))
    assert pretrain(config).about["encoder_step"] == 0
    assert not (tmp_path / "router" / "encoder").exists()
    assert Router.from_pretrained(tmp_path / "router").encoder.name == config.encoder.name


@pytest.mark.parametrize("tuned", ["last_layers"], indirect=True)
def test_encoder_is_trained_on_other_tables_too(
    tuned: tuple[TrainConfig, RunResult], workshop: Path, tmp_path: Path
) -> None:
    config, alone = tuned
    tables = replace(config.data, tables=["simulated:120x8"])
    beside = run(replace(config, data=tables, output_dir=str(tmp_path)))
    assert beside.router.encoder.fingerprint() != alone.router.encoder.fingerprint()
    assert beside.router.pool.names == alone.router.pool.names


def test_encoder_that_cannot_be_trained_so_ends_before_anything_is_computed(workshop: Path, tmp_path: Path) -> None:
    arguments = miniature(workshop, "--encoder_training.mode", "last_layers", "--encoder_training.num_layers", "9")
    with pytest.raises(ConfigError, match=r"num_layers: got 9, expected at most the 2 layers"):
        run(parse_config([*arguments, "--data.cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path)]))
    assert not (tmp_path / "cache").exists()


def test_recipe_of_an_encoder_judges_it_beside_the_frozen_one(workshop: Path, tmp_path: Path) -> None:
    few = ("--encoder_training.max_steps", "2", "--encoder_training.num_prompts", "32")
    arguments = miniature(workshop, *few, "--output_dir", str(tmp_path), recipe="research/mmlu_pro_encoder")
    methods = set(run(parse_config(arguments)).report.methods)
    assert methods == {*METHODS, "end_to_end_frozen"}
