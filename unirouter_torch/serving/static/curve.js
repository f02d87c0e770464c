// Expected quality against cost.

import { qualityChart } from "./charts.js";
import { ask, byId, error, h, named, number, plural, quiet, show, svg, tell } from "./dom.js";
import { table } from "./try.js";

const MOST_ROWS = 40;

let data = null;

export async function load() {
  try {
    data = await ask("/v1/curve");
    quiet();
    draw();
  } catch (problem) {
    tell(problem);
  }
}

const key = (mark, ...text) => h("li", {}, svg("svg", { viewBox: "0 0 26 16", "aria-hidden": "true" }, mark), h("span", {}, text));

function draw() {
  const place = byId("curve-chart");
  show(place, qualityChart(data, Math.max(320, place.clientWidth), byId("log-cost").checked));
  const { in_force: now, target } = data;
  show(byId("curve-legend"),
    h("ul", { class: "legend" },
      key(svg("line", { class: "curve", x1: 0, x2: 26, y1: 8, y2: 8 }), "router, as the cost weight moves"),
      key(svg("circle", { class: "llm-point", cx: 13, cy: 8, r: 4.5 }), "a single LLM for all prompts"),
      key(svg("circle", { class: "in-force", cx: 13, cy: 8, r: 7 }), `in force: cost weight ${number(now.cost_weight)}, quality ${error(now.quality)}, cost ${number(now.cost)}`),
      target && key(svg("line", { class: "target", x1: 0, x2: 26, y1: 8, y2: 8 }), `target: a ${target.kind} of ${number(target.value)}`)),
    h("p", { class: "muted" }, `By the estimates for ${plural(data.prompts, "calibration prompt")}${data.cost_is_estimate ? "; costs are estimated" : ""}.`));
  const step = Math.max(1, Math.ceil(data.points.length / MOST_ROWS));
  const points = data.points.filter((_, index) => index % step === 0 || index === data.points.length - 1);
  const row = (name, point, weight) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }, weight), h("td", { class: "number" }, number(point.cost)), h("td", { class: "number" }, error(point.quality)));
  show(byId("curve-table"), table(["What", ["Cost weight"], ["Cost"], ["Quality"]], [
    row("in force", now, number(now.cost_weight)),
    ...points.map(point => row("router", point, number(point.cost_weight))),
    ...data.llms.map(llm => row(named(llm.llm), llm, "–")),
  ], "Curve and single LLMs"));
}

export function start() {
  byId("log-cost").addEventListener("change", draw);
  new ResizeObserver(() => { if (data && !byId("curve").hidden) draw(); }).observe(byId("curve"));
}
