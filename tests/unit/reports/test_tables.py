import jinja2
import pytest

from unirouter_torch.reports.html_page import render_page
from unirouter_torch.reports.tables import Cell, Group, Table

TABLE = Table(
    groups=(Group("Fit", ("Wall", "CPU")), Group("", ("Area ↑",))),
    rows={"K-NN": (Cell("1"), Cell("2", "[1, 3]", "2 of 4 trials"), Cell("0.5", is_best=True))},
)


def test_markdown_names_columns_with_their_group_and_sets_off_the_best() -> None:
    assert TABLE.to_markdown() == [
        "| Method | Fit, Wall | Fit, CPU | Area ↑ |",
        "|---|---|---|---|",
        "| K-NN | 1 | 2 [1, 3] (2 of 4 trials) | **0.5** |",
    ]
    assert TABLE.to_markdown("---:")[1] == "|---|---:|---:|---:|"


def test_plain_table_has_one_group_a_column() -> None:
    table = Table.plain(["a", "b"], {"row": (Cell("1"), Cell("2"))}, first="Clusters")
    assert table.to_markdown() == ["| Clusters | a | b |", "|---|---|---|", "| row | 1 | 2 |"]


def test_page_fills_every_block_and_refuses_what_is_missing() -> None:
    with pytest.raises(jinja2.UndefinedError, match="headline"):
        render_page("trials.html.jinja", title="made", contents={})
