"""Recipes are found by name, and say what they need."""

from pathlib import Path

import pytest

from unirouter_torch.config.files import parse_config
from unirouter_torch.config.recipes import find_recipe, purpose_of, recipes
from unirouter_torch.errors import ConfigError


def test_a_recipe_is_found_by_its_name() -> None:
    assert parse_config(["--config", "quickstart"]) == parse_config([f"--config={recipes()['quickstart']}"])


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text("seed: 7")
    assert find_recipe("quickstart") == Path("quickstart")
    assert parse_config(["--config", "quickstart"]).seed == 7


def test_near_misses_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean quickstart"):
        find_recipe("quickstat")


def test_every_recipe_says_what_it_is_for() -> None:
    assert [name for name, file in recipes().items() if len(purpose_of(file)) < 20] == []


def test_only_research_recipes_need_data_that_nobody_else_has() -> None:
    private = [name for name, file in recipes().items() if "shared/data" in file.read_text()]
    assert private and all(name.startswith("research/") for name in private)
