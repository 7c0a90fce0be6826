// Recall against milliseconds at several widths of a search: a picture, and the same figures as a table.

import { h, svg } from "../lib/dom.js";
import { count } from "../lib/words.js";

const [WIDTH, HEIGHT] = [560, 280];
const EDGE = { left: 60, right: 16, top: 26, bottom: 44 };
const SERIES = 4;

// `points` are {nprobe, depth, recall_at_10, p50_ms, p99_ms, promoted}; the promoted one is the width that serves.
export function sweep(points, caption) {
  const measured = points.filter((point) => point.recall_at_10 != null && point.p50_ms > 0);
  const x = scale(measured.map((point) => point.p50_ms), EDGE.left, WIDTH - EDGE.right);
  const least = Math.min(0.99, ...measured.map((point) => point.recall_at_10));
  const step = niceStep((1 - least) / 4);
  const low = Math.max(0, Math.floor(least / step - 0.5) * step);
  const y = (recall) => EDGE.top + ((1 - recall) / (1 - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const levels = Array.from({ length: Math.round((1 - low) / step) + 1 }, (_, index) => low + index * step);
  const digits = Math.max(1, Math.ceil(-Math.log10(step) - 1e-9));
  const depths = [...new Set(measured.map((point) => point.depth))].sort((one, other) => one - other);
  const isFlat = measured.every((point) => !point.nprobe);
  const series = isFlat ? [measured] : depths.map((depth) => measured.filter((point) => point.depth === depth));
  const tone = (index) => (isFlat ? 1 : index % SERIES);
  const serving = measured.find((point) => point.promoted);
  const text = (content, at) => svg("text", at, content);
  const at = (point) => ({ cx: x.of(point.p50_ms), cy: y(point.recall_at_10) });
  return h(
    "figure.sweep",
    {},
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": spoken(measured, serving) },
      levels.map((level) => [
        svg("path.grid-line", { d: `M${EDGE.left} ${y(level)}H${WIDTH - EDGE.right}` }),
        text(level.toFixed(digits), { x: EDGE.left - 8, y: y(level) + 4, "text-anchor": "end" }),
      ]),
      x.ticks.map((tick) => text(plain(tick), { x: x.of(tick), y: HEIGHT - EDGE.bottom + 18, "text-anchor": "middle" })),
      svg("path.axis", { d: `M${EDGE.left} ${EDGE.top}V${HEIGHT - EDGE.bottom}H${WIDTH - EDGE.right}` }),
      text("recall@10", { x: EDGE.left - 8, y: EDGE.top - 12, "text-anchor": "start" }),
      text("milliseconds of a query (median)", { x: WIDTH - EDGE.right, y: HEIGHT - 6, "text-anchor": "end" }),
      series.map((one, index) => svg(`polyline.line.s${tone(index)}`, { points: one.map((point) => `${x.of(point.p50_ms)},${y(point.recall_at_10)}`).join(" ") })),
      series.map((one, index) => one.map((point) => svg(`circle.point.s${tone(index)}`, { ...at(point), r: 3.5 }, svg("title", {}, told(point))))),
      serving && svg("circle.serves", { ...at(serving), r: 7.5 }, svg("title", {}, `${told(serving)}; this width serves`)),
    ),
    h(
      "ul.legend",
      {},
      !isFlat && series.map((one, index) => h("li", {}, sample(svg(`path.line.s${tone(index)}`, { d: "M1 8H27" })), `${count(one[0].depth)} compared exactly`)),
      serving && h("li", {}, sample(svg("circle.serves", { cx: 14, cy: 8, r: 6 })), "the width that serves"),
    ),
    h("figcaption", {}, caption),
    h("details", {}, h("summary", {}, "The figures as a table"), h("div.scrolled", { tabindex: "0", role: "region", "aria-label": "Recall and milliseconds at each width" }, table(measured))),
  );
}

const told = (point) => `${where(point)}: recall@10 ${point.recall_at_10.toFixed(4)}, ${plain(point.p50_ms)} ms`;
const where = ({ nprobe, depth }) => `${nprobe ? `${count(nprobe)} lists read` : "all read"}, ${count(depth)} compared exactly`;
const sample = (shape) => svg("svg.sample", { viewBox: "0 0 28 16", "aria-hidden": "true" }, shape);
const plain = (number) => String(Number(number.toPrecision(number < 10 ? 2 : 3)));

function spoken(points, serving) {
  const recalls = points.map((point) => point.recall_at_10);
  const times = points.map((point) => point.p50_ms);
  const range = `Recall@10 from ${Math.min(...recalls).toFixed(3)} to ${Math.max(...recalls).toFixed(3)} in ${plain(Math.min(...times))} to ${plain(Math.max(...times))} milliseconds, at ${points.length} widths.`;
  return serving ? `${range} The one that serves: ${serving.recall_at_10.toFixed(3)} in ${plain(serving.p50_ms)} milliseconds.` : range;
}

function table(points) {
  const head = (words) => h("th", { scope: "col" }, words);
  return h(
    "table.widths",
    {},
    h("thead", {}, h("tr", {}, ["lists read", "compared exactly", "recall@10", "median ms", "99 of 100 under, ms", ""].map(head))),
    h("tbody", {}, points.map((point) => h("tr", {},
      [point.nprobe ? count(point.nprobe) : "all", count(point.depth), point.recall_at_10.toFixed(4), point.p50_ms.toFixed(2), point.p99_ms?.toFixed(2) ?? "–", point.promoted ? "serves" : ""].map((cell) => h("td.number", {}, cell))))),
  );
}

// Milliseconds to pixels: by their logarithm where they are far apart, with a few round numbers between.
function scale(values, from, to) {
  const isFar = Math.max(...values) > 8 * Math.min(...values);
  const mapped = isFar ? Math.log : (value) => value;
  const [least, most] = [mapped(Math.min(...values)), mapped(Math.max(...values))];
  const margin = (most - least) * 0.08 || Math.abs(least) * 0.2 || 1;
  const [first, last] = [least - margin, most + margin];
  const of = (value) => from + ((mapped(value) - first) / (last - first)) * (to - from);
  if (isFar) return { of, ticks: powers(Math.exp(first), Math.exp(last)) };
  const step = niceStep((last - first) / 5);
  const count = Math.floor(last / step) - Math.ceil(first / step) + 1;
  return { of, ticks: Array.from({ length: count }, (_, index) => (Math.ceil(first / step) + index) * step) };
}

function powers(first, last) {
  const found = [];
  for (let power = Math.floor(Math.log10(first)); 10 ** power <= last; power++) {
    for (const digit of [1, 2, 5]) if (digit * 10 ** power >= first && digit * 10 ** power <= last) found.push(digit * 10 ** power);
  }
  return found;
}

// The round number, 1, 2 or 5 with noughts, that is not below `least`.
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].find((digit) => digit * power >= least * 0.999) * power;
}
