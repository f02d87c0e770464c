"""Names of other packages' objects, and what a wrong one is answered."""

from pathlib import Path

import pytest

from unirouter_torch.errors import ConfigError
from unirouter_torch.plugins import load_plugin

GROUP = "unirouter_torch.made_for_the_test"


def load(name: str) -> object:
    return load_plugin(name, group=GROUP, setting="made.setting", built_in=["zero", "knn"])


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as an installer leaves it: a module, and metadata with entry points."""
    (tmp_path / "made_plugin.py").write_text("class Made:\n    number = 7\n")
    metadata = tmp_path / "made_plugin-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: made_plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\nmade = made_plugin:Made\ngone = made_plugin:Gone\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["made", "made_plugin:Made"])
def test_entry_point_and_path_name_the_same_object(name: str) -> None:
    assert load(name).number == 7


@pytest.mark.usefixtures("installed")
def test_unknown_name_is_answered_with_all_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"^made.setting: got 'mad', expected one of gone, knn, made, zero, or pack"):
        load("mad")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", ["gone", "made_plugin:Gone", "no_such_module:Made", "made_plugin:", ":Made"])
def test_object_that_cannot_be_imported_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^made.setting: '{name}' cannot be imported: .*Install its package"):
        load(name)
