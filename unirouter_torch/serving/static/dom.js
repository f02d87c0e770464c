// Elements, numbers and requests. Text only ever becomes a text node, so a name or prompt is never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = id => document.getElementById(id);
export const show = (place, ...children) => place.replaceChildren(...children.flat(Infinity).filter(Boolean));

/** A name that somebody else chose: kept apart from the direction of the text around it, and shortened by style. */
export const named = (name, attributes) => h("bdi", { class: "name", title: name, ...attributes }, name);

const significant = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const number = value => {
  if (value === null || value === undefined) return "–";
  return value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e7) ? value.toExponential(2) : significant.format(value);
};
export const count = value => whole.format(value);
export const percent = value => `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)}%`;
export const error = value => value.toFixed(3);
export const seconds = value => {
  if (value === null || !Number.isFinite(value)) return "–";
  return value < 1 ? `${significant.format(1000 * value)} ms` : `${significant.format(value)} s`;
};
export const plural = (amount, one, many = `${one}s`) => `${count(amount)} ${amount === 1 ? one : many}`;

let key = "";
export const setKey = value => { key = value; };
const keyHeader = () => (key ? { authorization: `Bearer ${key}` } : {});

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function refusal(response) {
  const said = await response.json().catch(() => null);
  return new Refused(response.status, said?.error?.message ?? `The server answered with status ${response.status}.`);
}

export async function request(path, body, signal) {
  const options = body === undefined
    ? { headers: keyHeader(), signal }
    : {
        method: "POST",
        headers: { "content-type": "application/json", ...keyHeader() },
        body: JSON.stringify(body),
        signal,
      };
  let response;
  try {
    response = await fetch(path, options);
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Refused(0, "The server cannot be reached.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export const ask = async (path, body, signal) => (await request(path, body, signal)).json();

/** Says what went wrong where it can be seen and heard; a cancelled request is nothing to tell. */
export function tell(problem) {
  if (problem.name === "AbortError") return;
  if (problem.status === 401) document.dispatchEvent(new CustomEvent("key-needed"));
  const place = byId("message");
  place.textContent = problem.message;
  place.hidden = false;
}

export function quiet() {
  byId("message").hidden = true;
}
