// What the server counts, read again every other second while it is looked at.

import { shareBar } from "./charts.js";
import { ask, byId, count, error, h, named, number, percent, seconds, show, tell } from "./dom.js";
import { table } from "./try.js";

const PERIOD = 2000;

let timer = 0;
let before = null;
let isPaused = false;
let allowsChanges = false;
let whenChanged = () => {};

const sum = samples => samples.reduce((total, sample) => total + sample.value, 0);
const totals = samples => samples.filter(sample => sample.name === "total");
const one = samples => samples[0]?.value ?? 0;

/** Quantile of a histogram, straight lines between the ends of its buckets. */
function quantile(buckets, level) {
  const all = buckets.at(-1)?.value ?? 0;
  if (!all) return null;
  let [start, below] = [0, 0];
  for (const { le, value } of buckets) {
    const end = le === "+Inf" ? Infinity : Number(le);
    if (value >= level * all) return end === Infinity ? start : start + ((level * all - below) / (value - below || 1)) * (end - start);
    [start, below] = [end, value];
  }
  return null;
}

async function load() {
  try {
    const [counts, router] = await Promise.all([ask("/v1/traffic"), ask("/v1/router")]);
    draw(counts, router);
  } catch (problem) {
    tell(problem);
  }
}

function draw(counts, router) {
  const now = performance.now();
  const prompts = sum(totals(counts.choices));
  const requests = sum(totals(counts.requests));
  const rate = before && now > before.now ? (1000 * (prompts - before.prompts)) / (now - before.now) : null;
  before = { now, prompts };
  const failed = sum(totals(counts.requests).filter(sample => Number(sample.status) >= 500));
  tiles([
    ["Prompts routed", count(prompts), rate === null ? "" : `${number(rate)} a second`],
    ["Requests", count(requests), failed ? `${count(failed)} failed` : "none failed"],
    ["Waiting", count(one(counts.waiting_prompts)), "prompts"],
    ["Pool revision", count(one(counts.pool_revision)), sum(totals(counts.reload_errors)) ? "a change was not taken over" : ""],
  ]);
  shares(counts, prompts);
  stages(counts.stage_seconds);
  drawRouter(router);
  trial(counts);
  upstreams(counts);
  show(byId("requests"), rowsOr("No request yet.", ["Endpoint", "Status", ["Requests"]], totals(counts.requests).sort((a, b) => b.value - a.value).map(sample =>
    h("tr", {}, h("th", { scope: "row" }, sample.endpoint), h("td", {}, h("span", { class: Number(sample.status) >= 500 ? "badge bad" : "badge" }, sample.status)), h("td", { class: "number" }, count(sample.value)))), "Requests by endpoint and status"));
}

function tiles(found) {
  show(byId("tiles"), found.map(([name, value, note]) => h("dl", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, note && h("div", { class: "muted" }, note)))));
}

const rowsOr = (nothing, heads, rows, label) => (rows.length ? table(heads, rows, label) : h("p", { class: "muted" }, nothing));

function shares(counts, prompts) {
  const sorted = totals(counts.choices).sort((first, second) => second.value - first.value);
  const rows = sorted.map(sample => h("tr", {},
    h("th", { scope: "row" }, named(sample.llm)),
    h("td", { class: "wide" }, shareBar(sample.value / prompts)),
    h("td", { class: "number" }, percent(sample.value / prompts)),
    h("td", { class: "number" }, count(sample.value))));
  show(byId("shares"), rowsOr("No prompt was routed yet.", ["LLM", "Share", [""], ["Prompts"]], rows, "Shares of LLMs"));
}

function stages(samples) {
  const names = [...new Set(samples.map(sample => sample.stage))];
  const rows = names.map(stage => {
    const its = samples.filter(sample => sample.stage === stage);
    const buckets = its.filter(sample => sample.name === "bucket");
    const amount = its.find(sample => sample.name === "count")?.value ?? 0;
    const total = its.find(sample => sample.name === "sum")?.value ?? 0;
    return h("tr", {}, h("th", { scope: "row" }, stage), ...[amount ? total / amount : null, quantile(buckets, 0.5), quantile(buckets, 0.99)].map(value => h("td", { class: "number" }, seconds(value))), h("td", { class: "number" }, count(amount)));
  });
  show(byId("stages"), rowsOr("Nothing was timed yet.", ["Stage", ["Mean"], ["50 %"], ["99 %"], ["Times"]], rows, "Seconds by stage"));
}

function drawRouter({ router, before: earlier, trial: second }) {
  const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const role = second && (second.kind === "canary" ? `Canary, ${percent(second.share)} of the requests` : "Shadow");
  show(byId("router-facts"), h("dl", { class: "facts" },
    fact("In service", named(router)),
    second && fact(role, named(second.router)),
    earlier && fact("Before", named(earlier))));
  byId("router-actions").hidden = !allowsChanges || !(second || earlier);
  byId("promote").hidden = !second;
  byId("back").hidden = !earlier;
}

async function change(body) {
  try {
    await ask("/v1/router", body);
    await load();
    whenChanged();
  } catch (problem) {
    if (problem.status === 403) document.dispatchEvent(new CustomEvent("key-needed"));
    tell(problem);
  }
}

function trial(counts) {
  const prompts = totals(counts.trial_prompts ?? []);
  if (!prompts.length) {
    show(byId("trial"));
    return;
  }
  const of = (metric, router) => totals(counts[metric]).find(sample => sample.router === router)?.value ?? 0;
  const rows = prompts.map(({ router, value }) => h("tr", {},
    h("th", { scope: "row" }, router),
    h("td", { class: "number" }, count(value)),
    h("td", { class: "number" }, value ? error(of("trial_expected_error", router) / value) : "–"),
    h("td", { class: "number" }, value ? number(of("trial_expected_cost", router) / value) : "–")));
  const shadowed = prompts.find(sample => sample.router === "shadow")?.value ?? 0;
  const agreed = sum(totals(counts.trial_agreed));
  const skipped = sum(totals(counts.trial_skipped));
  show(byId("trial"), table(["Router", ["Prompts"], ["Expected error"], ["Expected cost"]], rows, "Both routers"),
    shadowed > 0 && h("p", { class: "muted" }, `Both chose the same LLM for ${percent(agreed / shadowed)} of ${count(shadowed)} prompts.${skipped ? ` ${count(skipped)} were left out, as too many waited.` : ""}`));
}

function upstreams(counts) {
  const out = counts.upstream_left_out.filter(sample => sample.value).map(sample => sample.llm);
  const rows = totals(counts.upstream_errors).sort((first, second) => second.value - first.value).map(sample => h("tr", {},
    h("th", { scope: "row" }, named(sample.llm), out.includes(sample.llm) && h("span", { class: "badge bad" }, "left out")),
    h("td", {}, sample.reason),
    h("td", { class: "number" }, count(sample.value))));
  const fallbacks = sum(totals(counts.fallbacks));
  show(byId("upstreams"), rowsOr("No LLM failed.", ["LLM", "What happened", ["Times"]], rows, "Failures of LLMs"),
    fallbacks > 0 && h("p", { class: "muted" }, `A next best LLM answered ${count(fallbacks)} times.`),
    out.length > 0 && h("p", { class: "muted" }, "Left out for a while by the circuit breaker: ", out.map((llm, index) => [index > 0 && ", ", named(llm)])));
}

export function open() {
  close();
  before = null;
  const again = async () => {
    if (!isPaused && !document.hidden) await load();
    timer = setTimeout(again, PERIOD);
  };
  again();
}

export function close() {
  clearTimeout(timer);
}

export function allow(isAllowed) {
  allowsChanges = isAllowed;
}

export function start(afterChange) {
  whenChanged = afterChange;
  byId("promote").addEventListener("click", () => change({}));
  byId("back").addEventListener("click", () => change({ back: true }));
  byId("pause").addEventListener("click", event => {
    isPaused = !isPaused;
    event.target.setAttribute("aria-pressed", String(isPaused));
    event.target.textContent = isPaused ? "Go on" : "Pause";
  });
}
