// Small figures, drawn by hand.

import { error, named, h, number, percent, svg } from "./dom.js";

const MOST_LABELS = 14;

/** Estimated error with its interval, in [0, 1] up to `most`. */
export function errorBar(estimate, [low, high], most, isChosen) {
  const x = value => `${(100 * Math.min(value, most)) / most}%`;
  return svg(
    "svg",
    { class: isChosen ? "bar chosen" : "bar", role: "img", "aria-label": `${error(estimate)}, 90 % interval ${error(low)} to ${error(high)}` },
    svg("rect", { class: "bar-ground", x: 0, y: 7, width: "100%", height: 6, rx: 3 }),
    svg("rect", { class: "bar-value", x: 0, y: 7, width: x(estimate), height: 6, rx: 3 }),
    svg("line", { class: "whisker", x1: x(low), x2: x(high), y1: 10, y2: 10 }),
    svg("line", { class: "whisker", x1: x(low), x2: x(low), y1: 5, y2: 15 }),
    svg("line", { class: "whisker", x1: x(high), x2: x(high), y1: 5, y2: 15 }),
  );
}

/** A share in [0, 1]. */
export const shareBar = share =>
  svg(
    "svg",
    { class: "bar", role: "img", "aria-label": percent(share) },
    svg("rect", { class: "bar-ground", x: 0, y: 7, width: "100%", height: 6, rx: 3 }),
    svg("rect", { class: "bar-value", x: 0, y: 7, width: `${100 * share}%`, height: 6, rx: 3 }),
  );

/** Shares at some cost weights, one column each. */
export function columns(shares, weights) {
  const width = 10;
  const told = shares.map((share, index) => `${percent(share)} at ${number(weights[index])}`).join(", ");
  return svg(
    "svg",
    { class: "columns", viewBox: `0 0 ${width * shares.length} 24`, role: "img", "aria-label": `Share of prompts by cost weight: ${told}` },
    svg("title", {}, told),
    shares.map((share, index) => [
      svg("rect", { class: "bar-ground", x: width * index + 1, y: 22, width: width - 2, height: 2 }),
      share > 0 && svg("rect", { class: "bar-value", x: width * index + 1, y: 22 - Math.max(1.5, 21 * share), width: width - 2, height: Math.max(1.5, 21 * share) }),
    ]),
  );
}

/** Which LLM is chosen along the cost weight; `place` puts a cost weight on [0, 1]. */
export function strip(turns, costWeight, place, isShown) {
  const ends = turns.map((turn, index) => (index + 1 < turns.length ? place(turns[index + 1].cost_weight) : 1));
  const parts = turns.map((turn, index) => ({ turn, start: place(turn.cost_weight), end: ends[index] })).filter(part => part.end > part.start);
  const active = turns.findLastIndex(turn => turn.cost_weight <= costWeight);
  return h(
    "div",
    { class: "strip" },
    svg(
      "svg",
      { class: "strip-bar", role: "img", "aria-label": `Choice by cost weight; ${isShown}` },
      parts.map((part, index) =>
        svg("rect", {
          class: part.turn === turns[active] ? "strip-part now" : `strip-part tint-${index % 2}`,
          x: `${100 * part.start}%`,
          width: `${100 * (part.end - part.start)}%`,
          y: 6,
          height: 20,
        }, svg("title", {}, `${part.turn.llm}, from a cost weight of ${number(part.turn.cost_weight)}`)),
      ),
      svg("rect", { class: "strip-now", x: `${100 * place(costWeight)}%`, transform: "translate(-2 0)", y: 0, width: 4, height: 32, rx: 2 }),
    ),
    h(
      "ol",
      { class: "turns" },
      turns.map((turn, index) =>
        h("li", { class: index === active && "now" }, h("span", { class: "figure" }, index ? `from ${number(turn.cost_weight)}` : "from 0"), " ", named(turn.llm)),
      ),
    ),
  );
}

function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(size => size >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(Number(value.toPrecision(10)));
  return found;
}

/** Expected quality against cost: a curve, points for single LLMs, a mark for the setting in force, a target. */
export function qualityChart(data, width, isLog) {
  const height = Math.round(Math.max(280, Math.min(520, 0.55 * width)));
  const [left, right, top, bottom] = [58, 18, 16, 48];
  const costs = [...data.points, ...data.llms].map(point => point.cost);
  const qualities = [...data.points, ...data.llms].map(point => point.quality);
  const positive = costs.filter(cost => cost > 0);
  const log = isLog && positive.length > 0;
  const least = log ? Math.min(...positive) / 1.3 : 0;
  const greatest = (log ? 1.3 : 1.04) * Math.max(...costs, log ? least * 10 : 1e-12);
  const pad = 0.06 * (Math.max(...qualities) - Math.min(...qualities)) || 0.05;
  const [low, high] = [Math.max(0, Math.min(...qualities) - pad), Math.min(1, Math.max(...qualities) + pad)];
  const share = log
    ? cost => Math.log(Math.max(cost, least) / least) / Math.log(greatest / least)
    : cost => cost / greatest;
  const x = cost => left + share(cost) * (width - left - right);
  const y = quality => height - bottom - ((quality - low) / (high - low)) * (height - top - bottom);
  const atX = log
    ? ticks(Math.log10(least), Math.log10(greatest), width < 600 ? 3 : 7).filter(Number.isInteger).map(power => 10 ** power)
    : ticks(0, greatest, width < 600 ? 4 : 8);
  const marks = data.llms.map(llm =>
    svg("circle", { class: llm.is_available ? "llm-point" : "llm-point off", cx: x(llm.cost), cy: y(llm.quality), r: 4.5 }, svg("title", {}, `${llm.llm}: quality ${error(llm.quality)}, cost ${number(llm.cost)}${llm.is_available ? "" : ", disabled"}`)),
  );
  const target = data.target;
  return svg(
    "svg",
    { class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "Expected quality against expected cost; the table below holds the numbers" },
    ticks(low, high, 6).map(value => [
      svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      svg("text", { class: "tick", x: left - 8, y: y(value) + 4, "text-anchor": "end" }, String(value)),
    ]),
    atX.map(value => [
      svg("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: height - bottom }),
      svg("text", { class: "tick", x: x(value), y: height - bottom + 18, "text-anchor": "middle" }, number(value)),
    ]),
    svg("text", { class: "axis", x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, `expected cost [${data.cost_unit}]`),
    svg("text", { class: "axis", x: -(top + height - bottom) / 2, y: 14, transform: "rotate(-90)", "text-anchor": "middle" }, "expected quality"),
    target?.kind === "cost" && svg("line", { class: "target", x1: x(target.value), x2: x(target.value), y1: top, y2: height - bottom }),
    target?.kind === "quality" && svg("line", { class: "target", x1: left, x2: width - right, y1: y(target.value), y2: y(target.value) }),
    svg("polyline", { class: "curve", points: data.points.map(point => `${x(point.cost).toFixed(1)},${y(point.quality).toFixed(1)}`).join(" ") }),
    marks,
    labels(data.llms, x, y, width - right),
    svg("circle", { class: "in-force", cx: x(data.in_force.cost), cy: y(data.in_force.quality), r: 8 }, svg("title", {}, `in force: cost weight ${number(data.in_force.cost_weight)}`)),
  );
}

/** Names beside the points, the best first, as far as they do not cover each other. */
function labels(llms, x, y, end) {
  const taken = llms.map(llm => [x(llm.cost) - 6, y(llm.quality) - 6, x(llm.cost) + 6, y(llm.quality) + 6]);
  const found = [];
  for (const llm of [...llms].sort((one, other) => other.quality - one.quality)) {
    const text = llm.llm.length > 26 ? `${llm.llm.slice(0, 25)}…` : llm.llm;
    const wide = 6.6 * text.length;
    const [at, level] = [x(llm.cost), y(llm.quality)];
    const isLeft = at + 10 + wide > end;
    const box = [isLeft ? at - 10 - wide : at + 10, level - 8, isLeft ? at - 9 : at + 10 + wide, level + 8];
    if (found.length === MOST_LABELS) break;
    if (box[0] < 60 || taken.some(other => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
    taken.push(box);
    found.push(svg("text", { class: "label", x: isLeft ? at - 9 : at + 9, y: level + 4, "text-anchor": isLeft ? "end" : "start" }, text));
  }
  return found;
}
