"""The frame of an HTML page: style, script, sections, tables, and places for figures."""

import html
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from plotly.offline import get_plotlyjs

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1f2430; --soft: #667085; --line: #e3e6ec; --back: #ffffff; --panel: #f7f8fa; --mark: #0072b2;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7ec; --soft: #98a2b3; --line: #333a46; --back: #14171c; --panel: #1c2027; --mark: #56b4e9; }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 1180px; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1 { margin: 0 0 .25rem; font-size: 1.9rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 3rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); font-size: 1.3rem; }
h3 { margin: 1.75rem 0 .25rem; font-size: 1rem; }
p { max-width: 78ch; margin: .5rem 0; }
p, dt, small { color: var(--soft); }
a { color: var(--mark); text-decoration: none; }
a:hover { text-decoration: underline; }
nav { margin: 1.25rem 0; padding: .6rem 1rem; background: var(--panel); border-radius: 8px; }
nav a { display: inline-block; margin-right: 1.4rem; }
dl { display: grid; gap: .7rem 1.5rem; margin: 1.25rem 0; }
dl { grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); }
dt { font-size: .8rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .65rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; }
thead th { border-bottom: 2px solid var(--line); }
th[colspan] { text-align: center; }
tr > :first-child { text-align: left; }
tbody th { font-weight: 500; }
tbody tr:hover { background: var(--panel); }
td small { display: block; font-size: .76rem; }
.best { color: var(--mark); font-weight: 700; }
.control { display: inline-block; margin: .5rem 0; font-size: .9rem; }
.plot { width: 100%; }
"""

SCRIPT = """
const plots = [...document.querySelectorAll(".plot")];
function template() {
  const style = getComputedStyle(document.documentElement);
  const [ink, line, back] = ["--ink", "--line", "--back"].map(name => style.getPropertyValue(name).trim());
  const axis = {gridcolor: line, linecolor: line, zeroline: false, automargin: true};
  return {layout: {
    font: {color: ink, size: 13, family: getComputedStyle(document.body).fontFamily},
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
    hoverlabel: {bgcolor: back, bordercolor: line, font: {color: ink}, align: "left"},
  }};
}
for (const plot of plots) {
  const {data, layout} = JSON.parse(document.getElementById(plot.id + "-data").textContent);
  Plotly.newPlot(plot, data, {...layout, template: template()}, {responsive: true, displaylogo: false});
}
for (const box of document.querySelectorAll("input[data-plot]")) {
  const plot = document.getElementById(box.dataset.plot);
  box.addEventListener("change", () => {
    const type = box.checked ? "log" : "linear";
    Plotly.relayout(plot, {"xaxis.type": type, "xaxis.range": plot.layout.meta[type]});
  });
}
for (const choice of document.querySelectorAll("select[data-plot]")) {
  const plot = document.getElementById(choice.dataset.plot);
  choice.addEventListener("change", () =>
    Plotly.restyle(plot, {visible: plot.data.map(trace => trace.meta === choice.value)}));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const plot of plots) Plotly.relayout(plot, {template: template()});
});
"""


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        anchor: Name for links.
        heading: Plain text.
        body: HTML.
    """

    anchor: str
    heading: str
    body: str


def escape(value: object) -> str:
    """Any value as text of a page."""
    return html.escape(str(value))


def lay_out(title: str, introduction: str, sections: Sequence[Section]) -> str:
    """The whole page.

    Args:
        title: Plain text.
        introduction: HTML between the title and the table of contents.
        sections: Parts in their order.
    """
    links = "".join(f'<a href="#{section.anchor}">{escape(section.heading)}</a>' for section in sections)
    parts = "".join(
        f'<section id="{section.anchor}"><h2>{escape(section.heading)}</h2>{section.body}</section>\n'
        for section in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n<script>{get_plotlyjs()}</script>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{introduction}\n<nav>{links}</nav>\n{parts}<script>{SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def draw_figure(name: str, figure: dict[str, Any]) -> str:
    """A place for a figure, and its data.

    Args:
        name: Unique on the page.
        figure: Traces and layout as plotly.js takes them.
    """
    data = json.dumps(figure, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<div class="plot" id="{name}"></div><script type="application/json" id="{name}-data">{data}</script>'


def draw_table(head: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are aligned numbers.

    Args:
        head: Rows of whole ``th`` elements.
        rows: HTML of the cells.
    """
    heads = "".join(f"<tr>{''.join(row)}</tr>" for row in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    return f'<div class="scroll"><table><thead>{heads}</thead><tbody>{body}</tbody></table></div>'
