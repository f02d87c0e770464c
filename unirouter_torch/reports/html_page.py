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
  margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 1360px; background: var(--back); color: var(--ink);
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
th, td { padding: .4rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th, td { vertical-align: top; }
thead th { font-weight: 600; vertical-align: bottom; white-space: normal; border-bottom: 2px solid var(--line); }
th[colspan] { text-align: center; }
tr > :first-child { position: sticky; left: 0; background: var(--back); text-align: left; white-space: normal; }
tbody th { font-weight: 500; min-width: 7rem; }
tbody tr:hover > * { background: var(--panel); }
td small { display: block; font-size: .76rem; white-space: nowrap; }
.best { color: var(--mark); font-weight: 700; }
.control { display: inline-block; margin: .5rem 1.5rem .5rem 0; font-size: .9rem; }
.plot { width: 100%; }
@media (max-width: 760px) {
  body { padding: 1.25rem 1rem 3rem; }
  table { font-size: .82rem; }
}
"""

SCRIPT = """
const plots = [...document.querySelectorAll(".plot")];
const narrow = matchMedia("(max-width: 760px)");
const dark = matchMedia("(prefers-color-scheme: dark)");
const wanted = new Map(plots.map(plot => [plot, JSON.parse(document.getElementById(plot.id + "-data").textContent)]));
function template() {
  const style = getComputedStyle(document.documentElement);
  const [ink, soft, line, back] =
    ["--ink", "--soft", "--line", "--back"].map(name => style.getPropertyValue(name).trim());
  const axis = {gridcolor: line, linecolor: line, zeroline: false, automargin: true};
  return {layout: {
    font: {color: ink, size: 13, family: getComputedStyle(document.body).fontFamily},
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
    hoverlabel: {bgcolor: back, bordercolor: line, font: {color: ink}, align: "left"},
    modebar: {bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: ink},
  }};
}
function fit(plot) {
  const {data, layout} = wanted.get(plot);
  const entries = data.filter(trace => trace.visible !== false && trace.showlegend !== false && trace.name).length;
  const isBelow = narrow.matches && entries > 0;
  const below = {x: 0, xanchor: "left", yanchor: "top", y: -72 / (layout.height - 80)};
  return {
    height: layout.height + (isBelow ? 20 * entries + 30 : 0),
    legend: {...layout.legend, ...(isBelow ? below : {})},
  };
}
const options = {displaylogo: false, responsive: true};
options.modeBarButtons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
for (const plot of plots) {
  const {data, layout} = wanted.get(plot);
  Plotly.newPlot(plot, data, {...layout, ...fit(plot), template: template()}, options);
}
for (const box of document.querySelectorAll("input[data-axis]")) {
  const plot = document.getElementById(box.dataset.axis);
  box.addEventListener("change", () => {
    const type = box.checked ? "log" : "linear";
    const dtick = box.checked ? "D2" : null;
    Plotly.relayout(plot, {"xaxis.type": type, "xaxis.range": plot.layout.meta[type], "xaxis.dtick": dtick});
  });
}
for (const box of document.querySelectorAll("input[data-bands]")) {
  const plot = document.getElementById(box.dataset.bands);
  const bands = plot.data.flatMap((trace, index) => trace.meta === "band" ? [index] : []);
  const shown = bands.map(index => plot.data[index].visible !== false);
  box.addEventListener("change", () => {
    const lines = new Map(plot.data.filter(t => t.meta !== "band").map(t => [t.legendgroup, t.visible ?? true]));
    const visible = bands.map((index, number) =>
      (box.checked || shown[number]) && lines.get(plot.data[index].legendgroup));
    Plotly.restyle(plot, {visible}, bands);
  });
}
for (const choice of document.querySelectorAll("select[data-plot]")) {
  const plot = document.getElementById(choice.dataset.plot);
  choice.addEventListener("change", () =>
    Plotly.restyle(plot, {visible: plot.data.map(trace => trace.meta === choice.value)}));
}
narrow.addEventListener("change", () => {
  for (const plot of plots) Plotly.relayout(plot, fit(plot));
});
dark.addEventListener("change", () => {
  for (const plot of plots) Plotly.relayout(plot, {template: template()});
});
"""

POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the page may load: its own script and style, and pictures made by them; nothing from anywhere else."""


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
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n<script>{get_plotlyjs()}</script>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{introduction}\n<nav>{links}</nav>\n{parts}<script>{SCRIPT}</script>\n"
        "</body>\n</html>\n"
    )


def draw_figure(name: str, figure: dict[str, Any], *, min_width: int = 0) -> str:
    """A place for a figure, and its data.

    Args:
        name: Unique on the page.
        figure: Traces and layout as plotly.js takes them.
        min_width: Width [pixels] below which the figure scrolls rather than shrinks.
    """
    data = json.dumps(figure, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    place = f'<div class="scroll"><div class="plot" id="{name}" style="min-width: {min_width}px"></div></div>'
    return f'{place}<script type="application/json" id="{name}-data">{data}</script>'


def draw_switch(kind: str, plot: str, text: str, *, is_on: bool) -> str:
    """A box to tick.

    Args:
        kind: ``axis`` for a logarithmic cost axis, ``bands`` for the bands of all methods.
        plot: Name of the figure that it changes.
        text: Plain text beside it.
        is_on: Whether it is ticked at first.
    """
    checked = " checked" if is_on else ""
    box = f'<input type="checkbox" data-{kind}="{plot}" autocomplete="off"{checked}>'
    return f'<label class="control">{box} {escape(text)}</label>'


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
