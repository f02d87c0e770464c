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
  const ticks = {"xaxis.dtick": narrow.matches ? 1 : "D2"};  /* powers of ten, or 1, 2 and 5 times them */
  return {
    ...(layout.xaxis.dtick === "D2" && plot._fullLayout.xaxis.type === "log" ? ticks : {}),
    height: layout.height + (isBelow ? 20 * entries + 30 : 0),
    legend: {...layout.legend, ...(isBelow ? below : {x: 1.02, xanchor: "left", y: 1, yanchor: "top"})},
  };
}
const options = {displaylogo: false, responsive: true};
options.modeBarButtons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
for (const plot of plots) {
  const {data, layout} = wanted.get(plot);
  Plotly.newPlot(plot, data, {...layout, template: template()}, options);
  Plotly.relayout(plot, fit(plot));
}
for (const box of document.querySelectorAll("input[data-axis]")) {
  const plot = document.getElementById(box.dataset.axis);
  box.addEventListener("change", () => {
    const type = box.checked ? "log" : "linear";
    const dtick = box.checked ? (narrow.matches ? 1 : "D2") : null;
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
for (const table of document.querySelectorAll("table")) {
  const [first, last] = [table.tHead.rows[0], table.tHead.rows[table.tHead.rows.length - 1]];
  const groups = [...first.cells].slice(1).map(head => head.textContent);
  if (groups.length < 2) continue;
  const column = [...last.cells].slice(1).map(head => Number(head.dataset.group));
  const label = document.createElement("label");
  const choice = document.createElement("select");
  label.className = "control chooser";
  choice.autocomplete = "off";
  choice.append(...groups.map((group, number) => new Option(group, number)));
  label.append("Column ", choice);
  table.parentElement.before(label);
  const show = () => {
    const isOther = group => group !== Number(choice.value);
    for (const head of table.tHead.querySelectorAll("[data-group]"))
      head.classList.toggle("not-chosen", isOther(Number(head.dataset.group)));
    for (const row of table.tBodies[0].rows)
      column.forEach((group, number) => row.cells[number + 1].classList.toggle("not-chosen", isOther(group)));
  };
  choice.addEventListener("change", show);
  show();
}
narrow.addEventListener("change", () => {
  for (const plot of plots) Plotly.relayout(plot, fit(plot));
});
dark.addEventListener("change", () => {
  for (const plot of plots) Plotly.relayout(plot, {template: template()});
});
