"""A table as such: the same cells as Markdown and, by a template, as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """One cell.

    Attributes:
        text: What it says first.
        detail: An interval or a difference; on a line of its own where there is room for it.
        note: In parentheses, on a line of its own where there is room for it.
        is_best: Whether ``text`` is set off from the others.
    """

    text: str
    detail: str = ""
    note: str = ""
    is_best: bool = False

    def to_markdown(self) -> str:
        """All of it in one line."""
        text = f"**{self.text}**" if self.is_best else self.text
        return " ".join(part for part in (text, self.detail, self.note and f"({self.note})") if part)


class Group(NamedTuple):
    """Columns beside one another under a common head.

    Attributes:
        title: The common head.
        columns: The heads below it.
    """

    title: str
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of cells; the first column names the rows.

    Attributes:
        first: Head of the first column.
        groups: Heads of the others; a title is empty where a group is a column by itself.
        rows: Cells by the name of the row, one for each column.
    """

    first: str = "Method"
    groups: tuple[Group, ...]
    rows: dict[str, tuple[Cell, ...]]

    @classmethod
    def plain(cls, columns: Sequence[str], rows: dict[str, tuple[Cell, ...]], first: str = "Method") -> "Table":
        """A table without groups of columns."""
        return cls(first=first, groups=tuple(Group("", (column,)) for column in columns), rows=rows)

    def to_markdown(self, aligned: str = "---") -> list[str]:
        """Lines of a Markdown table; a column of a group is named with it.

        Args:
            aligned: Rule below each head but the first: ``---:`` for numbers of one length.
        """
        heads = [f"{group.title}, {head}" if group.title else head for group in self.groups for head in group.columns]
        return [
            f"| {self.first} | {' | '.join(heads)} |",
            f"|---|{f'{aligned}|' * len(heads)}",
            *(f"| {name} | {' | '.join(cell.to_markdown() for cell in cells)} |" for name, cells in self.rows.items()),
        ]
