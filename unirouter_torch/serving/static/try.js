// Type prompts, move the weights, see the choice and its reasons.

import { errorBar, shareBar, strip } from "./charts.js";
import { ask, byId, error, h, named, number, percent, plural, quiet, request, show, tell } from "./dom.js";
import { placeOf, stepOf, weightOf } from "./weights.js";

const MOST_PROMPTS = 16;
const MOST_ROWS = 20;

let costWeight = 0.1;
let latencyWeight = null;
let latest = null;
let selected = 0;
let showsAll = false;
let running = null;
let timer = 0;

const kind = () => document.querySelector("input[name=kind]:checked").value;

function prompts() {
  const text = byId("prompt").value;
  if (!text.trim()) return [];
  if (kind() === "conversation") return [conversation(text)];
  return kind() === "lines" ? text.split("\n").filter(line => line.trim()) : [text];
}

/** Messages from JSON, or from text whose turns begin with a role and a colon. */
function conversation(text) {
  if (/^\s*\[/.test(text)) {
    try {
      return JSON.parse(text);
    } catch {
      throw new Error("The conversation begins like JSON, but is none.");
    }
  }
  const messages = [];
  for (const line of text.split("\n")) {
    const turn = /^(system|developer|user|assistant|tool):\s?(.*)$/i.exec(line);
    if (turn) messages.push({ role: turn[1].toLowerCase(), content: turn[2] });
    else if (messages.length) messages.at(-1).content += `\n${line}`;
    else messages.push({ role: "user", content: line });
  }
  return messages;
}

async function route() {
  running?.abort();
  running = new AbortController();
  let texts;
  try {
    texts = prompts();
  } catch (problem) {
    tell(problem);
    return;
  }
  if (!texts.length) return;
  if (texts.length > MOST_PROMPTS) {
    tell(new Error(`${plural(texts.length, "prompt")} at once; this page takes ${MOST_PROMPTS}. Use POST /v1/route for more.`));
    return;
  }
  const body = { prompts: texts, cost_weight: costWeight };
  if (latencyWeight !== null) body.latency_weight = latencyWeight;
  const place = byId("try-result");
  place.setAttribute("aria-busy", "true");
  const empty = place.querySelector(".empty");
  if (empty) empty.textContent = "Working …";
  try {
    const found = await ask("/v1/explain", body, running.signal);
    latest = { ...found, texts: found.prompts.map(one => one.text) };
    place.removeAttribute("aria-busy");
    selected = Math.min(selected, texts.length - 1);
    quiet();
    draw();
  } catch (problem) {
    tell(problem);
  }
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(route, 120);
}

function draw() {
  const found = latest.prompts[selected];
  show(byId("try-result"), latest.texts.length > 1 && overview(), choice(found), estimates(found), clusters(found));
}

function overview() {
  const rows = latest.prompts.map((one, index) => {
    const its = one.llms.find(llm => llm.llm === one.llm);
    return h("tr", { class: index === selected && "now" },
      h("th", { scope: "row" }, h("button", { type: "button", class: "link", "aria-pressed": index === selected ? "true" : "false", onclick: () => { selected = index; draw(); } }, named(latest.texts[index].slice(0, 200)))),
      h("td", {}, named(one.llm)),
      h("td", { class: "number" }, error(its.estimated_error)),
      h("td", { class: "number" }, number(its.cost)));
  });
  return h("section", { class: "card" }, h("h2", {}, plural(rows.length, "prompt")), table(["Prompt", "LLM", ["Error"], ["Cost"]], rows, "Prompts"));
}

function choice(found) {
  const its = found.llms.find(llm => llm.llm === found.llm);
  const flips = found.turns.length - 1;
  const told = flips === 0 ? "the same at every cost weight" : `it would flip at ${found.turns.slice(1).map(turn => number(turn.cost_weight)).join(", ")}`;
  return h("section", { class: "card" },
    h("div", { class: "choice" },
      h("div", { class: "chosen-name" }, named(found.llm)),
      h("dl", { class: "facts" },
        fact("Estimated error", error(its.estimated_error)),
        fact("90 % interval", `${error(its.interval[0])} – ${error(its.interval[1])}`),
        fact(`Cost [${latest.cost_unit}]`, number(its.cost)),
        fact("Cost weight", number(latest.cost_weight)))),
    kind() === "conversation" && [h("h3", {}, "Text that it is routed by"), h("blockquote", { tabindex: "0", dir: "auto" }, found.text.slice(0, 2000))],
    h("h3", {}, "Where the choice would flip"),
    strip(found.turns, latest.cost_weight, placeOf, told));
}

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

function estimates(found) {
  const order = [...found.llms].sort((one, other) => (one.total ?? Infinity) - (other.total ?? Infinity) || one.estimated_error - other.estimated_error);
  const most = Math.min(1, Math.max(0.05, ...order.map(llm => llm.interval[1])));
  const shown = showsAll ? order : order.slice(0, MOST_ROWS);
  const rows = shown.map(llm => {
    const isChosen = llm.llm === found.llm;
    return h("tr", { class: isChosen ? "now" : llm.total === null && "off" },
      h("th", { scope: "row" }, named(llm.llm), llm.total === null && h("span", { class: "badge" }, "not available")),
      h("td", { class: "wide" }, errorBar(llm.estimated_error, llm.interval, most, isChosen)),
      h("td", { class: "number" }, error(llm.estimated_error)),
      h("td", { class: "number" }, number(llm.cost)),
      h("td", { class: "number hide-narrow" }, llm.total === null ? "–" : error(llm.total)));
  });
  const more = order.length > MOST_ROWS && h("div", { class: "actions" }, h("button", { type: "button", class: "second", onclick: () => { showsAll = !showsAll; draw(); } }, showsAll ? `Show the best ${MOST_ROWS}` : `Show all ${order.length} LLMs`));
  return h("section", { class: "card" },
    h("h2", {}, "Estimates"),
    h("p", { class: "muted" }, `Estimated error from 0 to ${number(most)} with its 90 % interval, the least sum of error and weighted cost first.`),
    table(["LLM", "Estimated error", [""], ["Cost"], ["Sum", "hide-narrow"]], rows, "Estimates of all LLMs"),
    more);
}

function clusters(found) {
  return h("section", { class: "card" }, h("h2", {}, "Kinds of prompt that it belongs to"),
    found.clusters.map(cluster => h("div", { class: "cluster" },
      h("div", { class: "cluster-head" }, h("span", {}, `Cluster ${cluster.cluster}`), shareBar(cluster.probability), h("span", { class: "number" }, percent(cluster.probability))),
      cluster.examples.map(text => h("blockquote", { tabindex: "0", dir: "auto" }, text.slice(0, 600))))));
}

/** A table that scrolls inside itself; a head in a list is a column of numbers. */
export function table(heads, rows, label) {
  const head = one => (Array.isArray(one) ? h("th", { scope: "col", class: ["number", ...one.slice(1)].join(" ") }, one[0] || h("span", { class: "hidden" }, "Value")) : h("th", { scope: "col" }, one));
  return h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": label }, h("table", {}, h("thead", {}, h("tr", {}, heads.map(head))), h("tbody", {}, rows)));
}

async function chat() {
  let first;
  try {
    [first] = prompts();
  } catch (problem) {
    tell(problem);
  }
  if (!first) return;
  const messages = typeof first === "string" ? [{ role: "user", content: first }] : first;
  const button = byId("ask");
  button.disabled = true;
  byId("answer-card").hidden = false;
  byId("answer-from").textContent = "Asking …";
  const place = byId("answer");
  place.textContent = "";
  try {
    const body = { model: `unirouter-${costWeight}`, stream: true, messages };
    const response = await request("/v1/chat/completions", body);
    byId("answer-from").textContent = `From ${decodeURIComponent(response.headers.get("x-unirouter-llm") ?? "")}`;
    await stream(response, part => { place.append(part); place.scrollTop = place.scrollHeight; });
    quiet();
  } catch (problem) {
    byId("answer-from").textContent = "No answer.";
    tell(problem);
  } finally {
    button.disabled = false;
  }
}

async function stream(response, add) {
  if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    add((await response.json()).choices?.[0]?.message?.content ?? "");
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:") || line.slice(5).trim() === "[DONE]") continue;
      const event = JSON.parse(line.slice(5));
      if (event.error) throw new Error(event.error.message ?? "The answer broke off.");
      add(event.choices?.[0]?.delta?.content ?? "");
    }
  }
}

function tellWeights(unit) {
  byId("cost-weight-told").textContent = number(costWeight);
  byId("cost-weight").setAttribute("aria-valuetext", number(costWeight));
  if (latencyWeight === null) return;
  byId("latency-weight-told").textContent = number(latencyWeight);
  byId("latency-weight").setAttribute("aria-valuetext", `${number(latencyWeight)} ${unit} a second`);
}

/** Begin with the weights of the server. */
export function start(pool) {
  costWeight = pool.cost_weight;
  byId("cost-weight").value = stepOf(costWeight);
  byId("ask").hidden = !pool.has_chat;
  byId("latency-slider").hidden = !pool.knows_latency;
  // a second may cost up to a hundred reference costs: the same scale as the cost weight, in the pool's unit
  if (pool.knows_latency) {
    latencyWeight = pool.latency_weight;
    byId("latency-weight").value = stepOf(latencyWeight / pool.reference_cost);
  }
  tellWeights(pool.cost_unit);
  byId("cost-weight").addEventListener("input", event => { costWeight = weightOf(event.target.valueAsNumber); tellWeights(pool.cost_unit); soon(); });
  byId("latency-weight").addEventListener("input", event => { latencyWeight = weightOf(event.target.valueAsNumber) * pool.reference_cost; tellWeights(pool.cost_unit); soon(); });
  byId("prompt").addEventListener("input", soon);
  byId("prompt").addEventListener("keydown", event => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) route(); });
  byId("try-kinds").addEventListener("change", () => { byId("prompt-help").hidden = kind() !== "conversation"; soon(); });
  byId("try-form").addEventListener("submit", event => { event.preventDefault(); route(); });
  byId("ask").addEventListener("click", chat);
}
