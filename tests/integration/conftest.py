"""One miniature run, shared by the tests of this folder."""

from pathlib import Path

import pytest
from miniature import miniature
from tiny_encoder import save_bert, save_static

from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.experiments.run import RunResult, run


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny encoder in it."""
    folder = tmp_path_factory.mktemp("workshop")
    save_bert(folder / "encoder")
    return folder


@pytest.fixture(scope="session")
def static(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny static encoder."""
    return save_static(tmp_path_factory.mktemp("static") / "encoder")


@pytest.fixture(scope="session")
def config(workshop: Path) -> TrainConfig:
    return parse_config(miniature(workshop))


@pytest.fixture(scope="session")
def result(config: TrainConfig) -> RunResult:
    return run(config)
