"""What counts in a fingerprint, and what does not."""

from dataclasses import dataclass, field, fields, make_dataclass, replace

import pytest

from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.config.fingerprint import Decides, deciding_settings, digest_of
from unirouter_torch.config.router import HeadConfig
from unirouter_torch.config.training import DataConfig, TrainConfig, TrainerConfig

SECTIONS = ("data", "encoder", "head", "episodes", "optimizer", "trainer", "encoder_training", "evaluation.curve")


def test_settings_with_their_defaults_do_not_count() -> None:
    assert deciding_settings(TrainConfig(), SECTIONS) == {}


def test_a_new_key_with_its_default_leaves_the_fingerprint_and_another_value_changes_it() -> None:
    newer = make_dataclass("Newer", [("brand_new", float, field(default=0.5))], bases=(HeadConfig,), frozen=True)

    @dataclass(frozen=True)
    class Config:
        head: HeadConfig

    def digest(head: HeadConfig) -> str:
        return digest_of(deciding_settings(Config(head), ("head",)))

    before = digest(HeadConfig(num_clusters=7))
    assert digest(newer(num_clusters=7)) == before
    assert digest(newer(num_clusters=7, brand_new=0.6)) != before


def test_every_setting_of_a_section_counts_unless_its_field_says_otherwise() -> None:
    marked = {
        f"{section}.{one.name}": one.metadata["decides"]
        for section in SECTIONS[:-1]
        for one in fields(getattr(TrainConfig(), section))
        if "decides" in one.metadata
    }
    assert marked == {
        "data.path": Decides.NOTHING,
        "data.tables": Decides.NOTHING,
        "data.calibration": Decides.BY_NAME,
        "data.cache_dir": Decides.NOTHING,
        "head.start_from": Decides.NOTHING,
        "trainer.accelerator": Decides.ROUNDING,
        "trainer.devices": Decides.ROUNDING,
        "trainer.num_nodes": Decides.ROUNDING,
        "trainer.strategy": Decides.ROUNDING,
    }


def test_places_do_not_count_and_what_is_changed_does() -> None:
    data = DataConfig(path="elsewhere", cache_dir="there", tables=["a"], unseen_fraction=0.5)
    assert deciding_settings(TrainConfig(data=data), ("data",)) == {"data.unseen_fraction": 0.5}


def test_a_key_that_counts_by_name_counts_where_it_is_named() -> None:
    config = TrainConfig(data=DataConfig(calibration="selected"))
    assert deciding_settings(config, ("data",)) == {}
    assert deciding_settings(config, ("data.calibration",)) == {"data.calibration": "selected"}
    assert deciding_settings(TrainConfig(), ("data.calibration",)) == {}


@pytest.mark.parametrize(("hardware", "expected"), [(True, {"trainer.devices": 2}), (False, {})])
def test_hardware_counts_where_it_is_asked_for(hardware: bool, expected: dict[str, int]) -> None:
    config = TrainConfig(trainer=TrainerConfig(devices=2))
    assert deciding_settings(config, ("trainer",), hardware=hardware) == expected


def test_settings_of_a_training_that_does_not_take_place_do_not_count() -> None:
    config = TrainConfig(encoder_training=EncoderTrainingConfig(max_steps=7))
    assert deciding_settings(config, ("encoder_training",)) == {}
    trained = replace(config, encoder_training=replace(config.encoder_training, mode="full"))
    assert set(deciding_settings(trained, ("encoder_training",))) == {
        "encoder_training.mode",
        "encoder_training.max_steps",
    }
