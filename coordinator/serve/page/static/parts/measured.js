// What an index was measured to do: its figures, its picture, and what became of altered copies.

import { h } from "../lib/dom.js";
import { bytes, count, duration, many, percent } from "../lib/words.js";
import { sweep } from "./sweep.js";

export function figures(pairs) {
  return h("dl.figures", {}, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const quiet = (...words) => h("p.quiet-text", {}, ...words);
const milliseconds = (number) => `${number.toFixed(number < 1 ? 2 : 1)} ms`;
const recall = (number) => (number == null ? "not measured" : number.toFixed(3));

// The index itself, its size and its speed, and the sweep of the evaluation, or else that of the build.
export function indexFacts({ index: info, model, fusion }, job) {
  const { evaluation } = info;
  const isNow = evaluation && !evaluation.reason && evaluation.build === info.build;
  const evaluate = ["This measures it at more widths: ", h("code.command", {}, `lookalike evaluate ${job}`)];
  const points = (isNow ? evaluation.sweep : info.sweep).filter((point) => point.recall_at_10 != null);
  return [
    h("h2", {}, `Index: ${info.type}`),
    figures([
      ["images in it", count(info.ntotal)],
      ["recall@10", recall(info.recall_at_10)],
      ["a query, median", milliseconds(info.p50_ms)], ["99 of 100 under", milliseconds(info.p99_ms)],
      ["size", bytes(info.bytes)], ["built in", info.seconds < 1 ? "under 1 s" : duration(info.seconds)],
    ]),
    quiet(`Build ${info.build}, ${new Date(info.built_at * 1000).toLocaleString()}, of ${model} embeddings. ${info.recall_queries ? `Measured with ${many(info.recall_queries, "query", "queries")} when it was built.` : ""}`),
    fusion && quiet(`${fusion}.`),
    isNow && [
      h("h3", {}, "Evaluated since"),
      figures([
        ["recall@10", recall(evaluation.recall_at_10)], ["a query, median", milliseconds(evaluation.p50_ms)], ["99 of 100 under", milliseconds(evaluation.p99_ms)],
        [`a second, ${count(evaluation.batch)} at once`, count(Math.round(evaluation.queries_per_second))],
      ]),
    ],
    points.length > 1
      ? sweep(points, isNow ? `Measured by the last evaluation, on ${many(evaluation.cores, "core")}.` : "Measured while the index was tuned.")
      : quiet("The index was measured at one width alone."),
    evaluation?.reason && h("p.note", {}, evaluation.reason, " ", evaluate),
    evaluation && !evaluation.reason && !isNow && h("p.note", {}, `The last evaluation is of the build ${evaluation.build}, and not of this one. `, evaluate),
    !evaluation && quiet(evaluate),
  ];
}

// What became of altered copies: whether they find their original, whether it is proven, and how often falsely.
export function copiesFacts({ index: info }) {
  const { evaluation, chances } = info;
  const isEvaluated = !info.verdicts.copies && evaluation?.build === info.build && evaluation.verdicts.copies > 0;
  const verdicts = isEvaluated ? evaluation.verdicts : info.verdicts;
  const judged = new Map(verdicts.by_alteration.map((row) => [row.alteration, row]));
  const found = new Map(Object.entries(info.accuracy_at_10));
  const names = [...new Set([...judged.keys(), ...found.keys()])];
  const proven = (row) => (row ? `${count(row.same_bytes + row.same_pixels + row.same_picture)} of ${count(row.copies)}` : "–");
  return [
    h("h2", {}, "Altered copies of its own images"),
    names.length > 0 && h("div.scrolled", { tabindex: "0", role: "region", "aria-label": "Altered copies by alteration" },
      h("table", {},
        h("thead", {}, h("tr", {}, ["alteration", "original among the first ten", "proven to show it"].map((words) => h("th", { scope: "col" }, words)))),
        h("tbody", {}, names.map((name) => h("tr", {}, h("th", { scope: "row" }, name), h("td.number", {}, found.has(name) ? percent(found.get(name)) : "–"), h("td.number", {}, proven(judged.get(name)))))))),
    info.accuracy_copies > 0 ? quiet(`${many(info.accuracy_copies, "copy", "copies")} of each alteration were searched for when the index was built.`) : quiet("No copies were searched for when the index was built."),
    verdicts.copies > 0
      ? h("p", {}, `Verdicts: ${count(verdicts.proven)} of ${many(verdicts.copies, "copy", "copies")} are proven to show their original, and of ${many(verdicts.strangers, "comparison")} with other images ${count(verdicts.false)} ${verdicts.false === 1 ? "was" : "were"} taken for the same${isEvaluated ? ", by the last evaluation" : ""}.`)
      : h("p", {}, `Verdicts were not measured${verdicts.reason ? `: ${verdicts.reason}` : "."}`),
    h("p", {}, chanceText(chances)),
  ];
}

function chanceText({ measured, reason, copies, originals, nothing_there: there, nothing_absent: absent }) {
  if (!measured) return `Similar hits have no chance of being the same picture: ${reason}`;
  const on = measured === "job" ? `on ${many(copies, "altered copy", "altered copies")} of ${many(originals, "image")} of this job` : `on other photographs. ${reason}`;
  return `The chance that a similar hit is the same picture was measured ${on}${measured === "job" ? "." : ""} Of queries whose picture is not in the job, ${percent(absent)} are told that nothing stands out; of the others, ${percent(there)}.`;
}
