// Tabs, the key, and what the header says.

import * as curve from "./curve.js";
import { ask, byId, number, plural, quiet, setKey, tell } from "./dom.js";
import * as pool from "./pool.js";
import * as traffic from "./traffic.js";
import * as tryIt from "./try.js";

const tabs = [...document.querySelectorAll("[role=tab]")];
const OPEN = { pool: pool.load, curve: curve.load, traffic: traffic.open };
let hasStarted = false;
let isKeyNeeded = false;

function select(tab, takesFocus) {
  for (const one of tabs) {
    const isIt = one === tab;
    one.setAttribute("aria-selected", String(isIt));
    one.tabIndex = isIt ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = !isIt;
  }
  if (takesFocus) tab.focus();
  const name = tab.getAttribute("aria-controls");
  history.replaceState(null, "", `#${name}`);
  quiet();
  traffic.close();
  OPEN[name]?.();
}

for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", event => {
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    select(tabs[(to + tabs.length) % tabs.length], true);
  });
}

async function begin() {
  try {
    const found = await ask("/v1/pool");
    const open = found.llms.filter(llm => llm.is_available).length;
    byId("status").textContent = `${plural(open, "LLM")} in service · revision ${found.revision} · cost weight ${number(found.cost_weight)}`;
    byId("key-button").hidden = !found.allows_changes && !isKeyNeeded;
    traffic.allow(found.allows_changes);
    if (!hasStarted) tryIt.start(found);
    hasStarted = true;
    quiet();
  } catch (problem) {
    tell(problem);
  }
}

const dialog = byId("key-dialog");
byId("key-button").addEventListener("click", () => dialog.showModal());
byId("key-cancel").addEventListener("click", () => dialog.close());
byId("key-form").addEventListener("submit", async () => {
  setKey(byId("key").value);
  byId("key").value = "";
  await begin();
  select(tabs.find(tab => tab.getAttribute("aria-selected") === "true"));
});
document.addEventListener("key-needed", () => { isKeyNeeded = true; if (!dialog.open) dialog.showModal(); });

pool.start(begin);
curve.start();
traffic.start(begin);
await begin();
select(tabs.find(tab => `#${tab.getAttribute("aria-controls")}` === location.hash) ?? tabs[0]);
