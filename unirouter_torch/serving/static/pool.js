// The LLMs, one LLM's profile, the history, and changes where the server takes them.

import { columns, errorBar } from "./charts.js";
import { ask, byId, count, error, h, named, number, percent, plural, quiet, show, tell } from "./dom.js";
import { table } from "./try.js";

let pool = null;
let order = { column: "error", descending: false };
let afterChange = () => {};

const COLUMNS = [
  { key: "llm", title: "LLM" },
  { key: "is_available", title: "State" },
  { key: "error", title: "Error", isNumber: true },
  { key: "outcomes", title: "Outcomes", isNumber: true },
  { key: "cost", title: "Cost", isNumber: true },
  { key: "latency", title: "Seconds", isNumber: true },
  { key: "drift", title: "Drift", value: llm => llm.drift?.evidence ?? 0 },
  { key: "traffic", title: "Takes prompts", value: llm => -Math.max(...llm.traffic) },
];
const valueOf = (llm, key) => {
  const column = COLUMNS.find(one => one.key === key);
  return column.value ? column.value(llm) : llm[key] ?? -Infinity;
};

export async function load() {
  try {
    const [found, history] = await Promise.all([ask("/v1/pool"), ask("/v1/pool/history")]);
    pool = found;
    quiet();
    draw();
    drawHistory(history);
    byId("undo").hidden = !pool.allows_changes || pool.revision === 0;
  } catch (problem) {
    tell(problem);
  }
}

function draw() {
  const wanted = byId("filter").value.toLowerCase();
  const shown = pool.llms.filter(llm => llm.llm.toLowerCase().includes(wanted));
  const sign = order.descending ? -1 : 1;
  shown.sort((one, other) => {
    const [first, second] = [valueOf(one, order.column), valueOf(other, order.column)];
    return sign * (first < second ? -1 : first > second ? 1 : 0);
  });
  const knowsLatency = pool.llms.some(llm => llm.latency !== null);
  const used = COLUMNS.filter(column => column.key !== "latency" || knowsLatency);
  const head = used.map(column => {
    const sort = order.column === column.key && (order.descending ? "descending" : "ascending");
    return h("th", { scope: "col", class: column.isNumber && "number", "aria-sort": sort || null },
      h("button", { type: "button", onclick: () => { order = { column: column.key, descending: order.column === column.key && !order.descending }; draw(); focusHead(column.title); } }, column.title));
  });
  const rows = shown.map(llm => h("tr", { class: !llm.is_available && "off" }, used.map(column => cell(llm, column.key))));
  show(byId("pool-table"), h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)));
  const estimated = pool.cost_is_estimate ? ", estimated" : "";
  byId("pool-note").textContent = `${plural(shown.length, "LLM")}${wanted ? ` of ${pool.llms.length}` : ""}. Cost in ${pool.cost_unit}${estimated}. ` +
    `Takes prompts: share of the calibration prompts at cost weights from ${number(pool.cost_weights[0])} to ${number(pool.cost_weights.at(-1))}.`;
}

function focusHead(title) {
  [...byId("pool-table").querySelectorAll("thead button")].find(button => button.textContent === title)?.focus();
}

function cell(llm, key) {
  switch (key) {
    case "llm": return h("th", { scope: "row" }, h("button", { type: "button", class: "link", onclick: () => openProfile(llm) }, named(llm.llm)));
    case "is_available": return h("td", {}, badge(llm));
    case "error": return h("td", { class: "number" }, error(llm.error));
    case "outcomes": return h("td", { class: "number" }, count(llm.outcomes));
    case "latency": return h("td", { class: "number" }, number(llm.latency));
    case "drift": return h("td", {}, drift(llm.drift));
    case "traffic": return h("td", {}, columns(llm.traffic, pool.cost_weights));
    default: return h("td", { class: "number" }, number(llm[key]));
  }
}

function badge(llm) {
  if (!llm.is_available) return h("span", { class: "badge" }, "disabled");
  if (pool.has_chat && !llm.is_reachable) return h("span", { class: "badge" }, "no upstream");
  return h("span", { class: "badge good" }, "available");
}

function drift(test) {
  if (!test) return h("span", { class: "muted" }, "–");
  if (!test.alarm) return h("span", { class: "muted" }, `none in ${count(test.outcomes)}`);
  return h("span", { class: "badge bad" }, test.is_worse ? "alarm: more errors" : "alarm: fewer errors");
}

function drawHistory(history) {
  const rows = [...history].reverse().map(one => h("tr", {},
    h("td", {}, String(one.revision)),
    h("td", {}, one.when ? one.when.replace("T", " ").replace("+00:00", "") : "–"),
    h("td", {}, one.who || "–"),
    h("td", {}, named(one.what)),
    h("td", {}, named(one.data))));
  const heads = ["Revision", "When [UTC]", "Who", "What", "From"];
  const content = rows.length ? table(heads, rows, "Revisions of the pool") : h("p", { class: "muted" }, "The router lies in no folder of its own; its pool does not change.");
  show(byId("history"), content);
}

async function openProfile(llm) {
  try {
    const profile = await ask(`/v1/pool/profile?llm=${encodeURIComponent(llm.llm)}`);
    show(byId("profile-title"), named(profile.name));
    show(byId("profile-body"), facts(profile), clusters(profile), traffic(profile), relatives(profile), pool.allows_changes && changes(llm));
    byId("profile").showModal();
    byId("profile").scrollTop = 0;
  } catch (problem) {
    tell(problem);
  }
}

function facts(profile) {
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return h("dl", { class: "facts" },
    fact("Error", error(profile.error)),
    fact("Outcomes", count(profile.outcomes)),
    fact(`Cost [${pool.cost_unit}]`, number(profile.cost)),
    fact("Takes prompts", range(profile)),
    fact("State", profile.is_available ? "available" : "disabled"));
}

function range({ takes_from: from, takes_to: to }) {
  if (from === null) return "at no cost weight";
  return to === null ? `from a cost weight of ${number(from)} on` : `at cost weights ${number(from)} to ${number(to)}`;
}

function clusters(profile) {
  const most = Math.min(1, Math.max(0.05, ...profile.clusters.map(cluster => cluster.interval[1])));
  const rows = profile.clusters.map(cluster => h("tr", {},
    h("th", { scope: "row" }, String(cluster.cluster)),
    h("td", { class: "wide" }, errorBar(cluster.error, cluster.interval, most, cluster.error < cluster.pool_error)),
    h("td", { class: "number" }, error(cluster.error)),
    h("td", { class: "number" }, error(cluster.pool_error)),
    h("td", { class: "number" }, number(cluster.outcomes)),
    h("td", {}, h("span", { class: "examples", dir: "auto" }, cluster.examples.join(" · ").slice(0, 300)))));
  return h("section", {}, h("h3", {}, "By kind of prompt, where it is furthest ahead of the pool first"),
    table(["Cluster", "Error with its 90 % interval", [""], ["Pool"], ["Outcomes"], "Prompts of this kind"], rows, "Error by cluster"));
}

function traffic(profile) {
  const weights = Object.keys(profile.traffic);
  return weights.length > 0 && h("section", {}, h("h3", {}, `Share of the calibration prompts by cost weight${profile.is_available ? "" : ", if it were enabled"}`),
    table(weights.map(weight => [number(Number(weight))]), [h("tr", {}, weights.map(weight => h("td", { class: "number" }, percent(profile.traffic[weight]))))], "Share by cost weight"));
}

function relatives(profile) {
  const rows = Object.entries(profile.relatives).map(([name, distance]) => h("tr", {}, h("th", { scope: "row" }, named(name)), h("td", { class: "number" }, error(distance))));
  return rows.length > 0 && h("section", {}, h("h3", {}, "Nearest relatives"), table(["LLM", ["Distance of cluster errors"]], rows, "Nearest relatives"));
}

function changes(llm) {
  const action = llm.is_available ? "disable" : "enable";
  const field = (name, label, value) => h("label", {}, label, h("input", { type: "number", name, min: "0", step: "any", placeholder: value === null ? "" : String(value) }));
  const form = h("form", { class: "change" },
    field("cost", "Cost of a call", llm.cost_of_call),
    llm.price_in !== null && field("price_in", "Per million tokens in", llm.price_in * 1e6),
    llm.price_out !== null && field("price_out", "Per million tokens out", llm.price_out * 1e6),
    field("latency", "Seconds of a call", llm.latency),
    h("button", { type: "submit" }, "Reprice"),
    h("button", { type: "button", class: "second", onclick: () => change({ action, llm: llm.llm }) }, action === "enable" ? "Enable" : "Disable"));
  form.addEventListener("submit", event => {
    event.preventDefault();
    const given = [...new FormData(form)].filter(([, value]) => value !== "").map(([name, value]) => [name, Number(value)]);
    if (given.length) change({ action: "reprice", llm: llm.llm, ...Object.fromEntries(given) });
  });
  return h("section", {}, h("h3", {}, "Change it"), form);
}

async function change(body) {
  byId("profile").close();
  try {
    await ask("/v1/pool", body);
    afterChange();
    await load();
  } catch (problem) {
    if (problem.status === 403) document.dispatchEvent(new CustomEvent("key-needed"));
    tell(problem);
  }
}

export function start(whenChanged) {
  afterChange = whenChanged;
  byId("filter").addEventListener("input", draw);
  byId("undo").addEventListener("click", () => change({ action: "undo" }));
  byId("profile-close").addEventListener("click", () => byId("profile").close());
}
