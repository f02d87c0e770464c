from types import ModuleType

import pytest
from script_module import script_module

from unirouter_torch.errors import ConfigError


@pytest.fixture(scope="module")
def publish_results() -> ModuleType:
    return script_module("publish_results")


def test_every_published_table_is_what_its_trials_give(publish_results: ModuleType) -> None:
    for page in {table.page for table in publish_results.TABLES.values()}:
        text = (publish_results.EVIDENCE / page).read_text()
        assert publish_results.with_tables(page, text) == text, f"{page}: run publish_results.py --tables-only"


def test_every_trial_belongs_to_a_published_table(publish_results: ModuleType) -> None:
    for file in {table.file for table in publish_results.TABLES.values()}:
        for name, contenders in publish_results.trials_in(file).items():
            published = {
                words
                for table in publish_results.TABLES.values()
                if table.file == file
                and any(publish_results.table_name(path) == name for paths, _ in table.trials for path in paths)
                for words in (table.reference, *table.contenders)
            }
            assert set(contenders) <= published


def test_a_comparison_counts_and_averages_the_trials_that_both_have(publish_results: ModuleType) -> None:
    reference = {"0": (0.5, 0.2), "1": (0.6, 0.2), "2": (0.9, 0.9)}
    trials = {"0": (0.6, 0.1), "1": (0.5, 0.1), "3": (0.0, 0.0)}
    num_trials, own, others, area, squared = publish_results.summary(trials, reference)
    assert (num_trials, own, others) == ("2", "0.5500 / 0.1000", "0.5500 / 0.2000")
    assert area == "+0.0000 [-0.1000, +0.1000], 1 : 1, p = 1"
    assert squared == "-50.0%, -0.1000, 2 : 0, p = 0.5"


def test_a_page_without_the_comments_of_its_table_is_refused(publish_results: ModuleType) -> None:
    with pytest.raises(ConfigError, match=r"ablations.md: expected <!-- results: static -->"):
        publish_results.with_tables("ablations.md", "# Ablations\n")
