"""Methods by name: those of this package, and those that another one brings."""

from pathlib import Path

import pytest

from unirouter_torch.config.training import DataConfig, EvaluationConfig, TrainConfig
from unirouter_torch.errors import ConfigError
from unirouter_torch.methods.registry import (
    built_in_methods,
    display_name,
    is_reference,
    knows_more,
    method_class,
    methods_to_compare,
)

PLUGIN = '''
"""A method in a package of its own."""

import torch

from unirouter_torch.methods.method import RoutingMethod


class Half(RoutingMethod):
    """Estimates one half."""

    title = "One half"

    def fit(self, trial):
        self.num_prompts = len(trial.table.prompt_texts)

    def represent(self, calibration):
        return calibration.error.shape[1]

    def estimate_error(self, embedding, features):
        return torch.full((len(embedding), features), 0.5)

    def describe(self):
        return {"num_prompts": self.num_prompts}
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as an installer leaves it."""
    (tmp_path / "half_plugin.py").write_text(PLUGIN)
    metadata = tmp_path / "half_plugin-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: half_plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[unirouter_torch.methods]\nhalf = half_plugin:Half\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_methods_are_found_in_their_folder_in_the_order_of_tables() -> None:
    found = built_in_methods()
    assert list(found)[:3] == ["random", "best_single", "zero"]
    assert list(found)[-1] == "oracle"
    assert all(kind.name == name and kind.title for name, kind in found.items())
    assert len({kind.place for kind in found.values()}) == len(found)


def test_stages_and_methods_without_their_tables_are_compared_only_where_they_are_named() -> None:
    names = set(methods_to_compare(TrainConfig()))
    by_name = {"end_to_end_frozen", "end_to_end_random", "hierarchical_shrinkage_24", "travelling"}
    assert names == built_in_methods().keys() - by_name
    assert "travelling" in methods_to_compare(TrainConfig(data=DataConfig(tables=["a"])))
    asked = EvaluationConfig(methods=["end_to_end", "travelling"])
    with pytest.raises(ConfigError, match=r"^data.tables: got none, .*travelling"):
        methods_to_compare(TrainConfig(evaluation=asked))


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("name", ["half", "half_plugin:Half"])
def test_method_of_another_package_is_named_by_its_entry_point_or_its_path(name: str) -> None:
    methods = methods_to_compare(TrainConfig(evaluation=EvaluationConfig(methods=["end_to_end", name])))
    assert list(methods) == ["end_to_end", name]
    assert display_name(name) == "One half"
    assert not knows_more(name) and not is_reference(name)


@pytest.mark.parametrize("name", ["no_such_method", "math:pi", "unirouter_torch.methods.head_method:HeadMethod"])
def test_what_is_no_method_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^evaluation.methods: "):
        method_class(name)
    assert display_name(name) == name
