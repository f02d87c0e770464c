"""From a template to an HTML page that needs no network; templates, style and script lie beside this file."""

from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the page may load: its own script and style, and pictures made by them; nothing from anywhere else."""


def render_page(template: str, **facts: Any) -> str:
    """A page of a template.

    Args:
        template: Name of a file in ``templates``; it extends ``page.html.jinja``.
        facts: What it shows; all text is escaped. A figure of :mod:`plotly.graph_objects` is drawn by the macro
            ``figure``, a :class:`~unirouter_torch.reports.tables.Table` by the macro ``table``.
    """
    environment = Environment(
        loader=PackageLoader("unirouter_torch.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure_json": _figure_json, "with_arrow": _with_arrow}
    return environment.get_template(template).render(plotly_script=get_plotlyjs(), policy=POLICY, **facts)


def _figure_json(figure: go.Figure) -> str:
    """A figure as JSON that no text in it can end."""
    text: str = figure.to_json()
    return text.replace("<", "\\u003c")


def _with_arrow(head: str) -> str:
    """The head of a column; an arrow stays on the line of the word before it."""
    return head.replace(" ↑", "\u00a0↑").replace(" ↓", "\u00a0↓")
