// Go through the groups of duplicates by keyboard: which image to keep, or that they are none. Nothing is deleted.

import { get, imagesOf, jobPath, post } from "../lib/api.js";
import { h, isTyping, put, say } from "../lib/dom.js";
import { bytes, cosine, count, many, parts, tone } from "../lib/words.js";
import { comparison } from "../parts/compare.js";
import { picture } from "../parts/picture.js";
import { emptyState, problemNote } from "../parts/states.js";
import { windowedList } from "../parts/windowed.js";

const ROW = 76;
const PAGE = 500;
const MOST_SHOWN = 24;
const NONE = "no duplicates";

export function duplicatesView(page, job) {
  const images = imagesOf(job);
  const path = `${jobPath(job)}/duplicates`;
  const stopped = new AbortController();
  const root = h("div.duplicates");
  const review = h("section.review", { "aria-label": "The group" });
  const summary = h("p.summary", { role: "status" });
  const list = windowedList("Groups", ROW, row, choose);
  let groups = []; // All of them, each with `decision`: the id to keep, NONE, or null.
  let visible = [];
  let at = 0;
  let selected = 0; // Which image of the group.
  let isAll = false;
  let total = 0;
  let compared = null;
  let isLoaded = false;

  function update() {
    if (!isLoaded) void load();
    isLoaded = true;
  }

  async function load() {
    put(root, h("p.note", { role: "status" }, "Reading the groups …"));
    try {
      const decided = decisions((await get(`${path}/decisions`, stopped.signal)).kept);
      for (let cursor = null; ; ) {
        const told = await get(`${path}?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`, stopped.signal);
        const isFirst = cursor === null;
        groups = groups.concat(told.groups.map((group) => ({ ...group, decision: decided(group) })));
        [total, cursor] = [told.count, told.next];
        if (isFirst) drawFrame(told);
        filter();
        if (!cursor) return;
      }
    } catch (error) {
      if (error.name !== "AbortError") drawError(error);
    }
  }

  function drawError(error) {
    const again = h("button.main", { type: "button", onclick: () => location.reload() }, "Try again");
    if (error.status !== 409) return void put(root, problemNote(error, { job, page, again }));
    put(root, emptyState("The job was not searched for duplicates yet", [`${error.message} This does it: `, h("code.command", {}, `lookalike duplicates ${job}`)], again));
  }

  function drawFrame(told) {
    if (!told.count) return void put(root, emptyState("There are no duplicates", `No two of the ${count(told.images)} images were found to show the same.`));
    const which = h("button.quiet", { type: "button", "aria-pressed": "false", onclick: () => ((isAll = !isAll), which.setAttribute("aria-pressed", isAll), filter()) }, "Show decided ones");
    const save = (kind) => h("button.quiet", { type: "button", onclick: () => saveAs(kind) }, `Export ${kind.toUpperCase()}`);
    put(
      root,
      h("div.row", {}, h("h1", {}, `Duplicates in ${job}`), h("span.grow"), which, save("csv"), save("json")),
      summary,
      told.notes.map((text) => h("p.note", {}, text)),
      h("div.halves", {}, list.element, review),
    );
  }

  function filter() {
    const current = visible[at];
    visible = isAll ? groups : groups.filter((group) => group.decision === null);
    const found = visible.indexOf(current);
    at = found >= 0 ? found : Math.max(0, Math.min(at, visible.length - 1));
    draw(found < 0);
  }

  function draw(isOther = true) {
    const decided = groups.filter((group) => group.decision !== null).length;
    summary.textContent = `${many(total, "group")}${groups.length < total ? `, ${count(groups.length)} read so far` : ""} · ${count(decided)} decided · nothing is deleted by this`;
    list.set(visible, at);
    if (isOther) selected = Math.max(0, visible[at]?.images.findIndex((image) => image.id === visible[at].decision) ?? 0);
    drawGroup();
  }

  function row(group) {
    const shown = group.images.slice(0, 3);
    return [
      h("span.few", {}, shown.map((image) => picture(images, images.tile(image.id), ""))),
      h("span.text", {}, h("b", {}, many(group.images.length, "image")), h("span.quiet-text", {}, stateOf(group) ?? group.images[1]?.verdict ?? "")),
    ];
  }

  function drawGroup() {
    compared?.close();
    compared = null;
    const group = visible[at];
    if (!group) return void put(review, emptyState("All groups are decided", "What was decided is kept in the job. Export it, or show the decided groups to change your mind."));
    const button = (text, key, run, kind = "quiet") => h(`button.${kind}`, { type: "button", onclick: run, title: key }, text, h("kbd", { "aria-hidden": "true" }, key));
    const shown = group.images.slice(0, MOST_SHOWN);
    put(
      review,
      h("div.row.tools", {},
        button("Keep the marked one", "K", keep, "main"),
        button("No duplicates", "N", () => none(group.images)),
        group.images.length > 2 && button("The marked one is none", "O", out),
        button("Skip", "S", () => step(1)),
        button("Compare", "C", compare)),
      h("p.quiet-text", {}, `Suggested to be kept: ${parts(group.images[0].image_path).name}${group.reason ? `, ${group.reason}` : ""}. ${stateOf(group) ? `Decided: ${stateOf(group)}.` : ""}`),
      h("ol.grid.members", {}, shown.map((image, index) => member(group, image, index))),
      group.images.length > shown.length && h("p.note", {}, `${many(group.images.length - shown.length, "more image")} of this group ${group.images.length - shown.length === 1 ? "is" : "are"} not shown; the decision is about them too.`),
    );
  }

  function member(group, image, index) {
    const { name, folder } = parts(image.image_path);
    const facts = [image.width && image.height && `${count(image.width)} × ${count(image.height)}`, image.bytes != null && bytes(image.bytes)].filter(Boolean).join(" · ");
    const verdict = index === 0 ? "suggested" : image.verdict;
    const losses = [image.shows_more && "shows more than the suggested one", image.is_finer && "finer than the suggested one"].filter(Boolean).join(", ");
    return h(
      "li.tile",
      {},
      h("button.shown", { type: "button", "aria-pressed": index === selected, onclick: () => mark(index), "aria-label": `${index === selected ? "Marked to be kept" : "Mark"}: ${name}, ${verdict}, ${facts}` },
        picture(images, images.tile(image.id), "")),
      h("div.judged", {}, h(`b.badge.${index === 0 ? "suggested" : tone(image.verdict)}`, {}, verdict), index > 0 && image.similarity != null && h("span.number", {}, cosine(image.similarity))),
      h("p.name", { title: image.image_path }, name, folder && h("span.folder", {}, folder)),
      h("p.why", {}, [facts, losses].filter(Boolean).join(" · ")),
    );
  }

  function mark(index) {
    selected = Math.max(0, Math.min(visible[at].images.length - 1, MOST_SHOWN - 1, index));
    drawGroup();
    review.querySelector('[aria-pressed="true"].shown')?.focus();
  }

  function choose(index) {
    at = Math.max(0, Math.min(visible.length - 1, index));
    draw();
  }

  function step(by) {
    if (at + by >= visible.length && by > 0) say("That was the last group.");
    choose(at + by);
  }

  const keep = () => decide(visible[at], { images: ids(visible[at]), keep: visible[at].images[selected].id }, visible[at].images[selected].id);
  const none = (which) => decide(visible[at], { images: which.map((image) => image.id) }, NONE);

  // The marked one is a duplicate of none of the others, which stay a group.
  async function out() {
    const group = visible[at];
    const image = group.images[selected];
    const others = group.images.filter((one) => one !== image);
    try {
      for (const other of others) await post(`${path}/decisions`, { images: [image.id, other.id] }, stopped.signal);
      group.images = others;
      say(`${parts(image.image_path).name} is no duplicate.`);
      draw();
    } catch (error) {
      page.failed(error);
    }
  }

  async function decide(group, asked, decision) {
    try {
      await post(`${path}/decisions`, asked, stopped.signal);
    } catch (error) {
      if (error.name !== "AbortError") page.failed(error);
      return;
    }
    group.decision = decision;
    say(stateOf(group));
    if (isAll) step(1);
    else filter();
  }

  function compare() {
    const group = visible[at];
    const image = group.images[selected || 1];
    const known = (one) => ({ ...one, evidence: undefined });
    const size = (one) => (one.width && one.height ? { width: one.width, height: one.height } : null);
    compared = comparison(
      { name: parts(image.image_path).name, source: images.large(image.id), facts: known(image), isStored: true, size: size(image) },
      {
        images: { ...images, facts: async () => known(group.images[0]) },
        hits: [{ ...group.images[0], ...{ rank: 1, similarity: image.similarity ?? 1, verdict: image.verdict, evidence: image.evidence } }],
        at: 0, onMove: () => {}, onClose: drawGroup, size: size(group.images[0]), back: "Back to the group",
      },
    );
    put(review, compared.element);
    compared.focus();
  }

  function key(event) {
    if (isTyping(event) || compared || document.querySelector("dialog[open]") || !visible[at]) return;
    const runs = {
      ArrowDown: () => step(1), ArrowUp: () => step(-1), ArrowRight: () => mark(selected + 1), ArrowLeft: () => mark(selected - 1),
      k: keep, n: () => none(visible[at].images), s: () => step(1), c: compare,
      o: () => visible[at].images.length > 2 && void out(),
    };
    if (!(event.key in runs)) return;
    event.preventDefault();
    void runs[event.key]();
  }

  function saveAs(kind) {
    const rows = groups.flatMap((group, number) => group.images.map((image, index) => ({
      group: number + 1, id: image.id, image_path: image.image_path, suggested: index === 0 ? "keep" : "", decision: decisionOf(group, image),
      verdict: image.verdict ?? "", similarity: image.similarity ?? "", width: image.width ?? "", height: image.height ?? "", bytes: image.bytes ?? "",
    })));
    const text = kind === "json" ? `${JSON.stringify(rows, null, 1)}\n` : csv(rows);
    const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: kind === "json" ? "application/json" : "text/csv" })), download: `${job}-duplicates.${kind}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  document.addEventListener("keydown", key);
  return {
    element: root, update,
    title: () => `Duplicates in ${job}`,
    close: () => (stopped.abort(), compared?.close(), list.close(), document.removeEventListener("keydown", key)),
  };
}

const ids = (group) => group.images.map((image) => image.id);

function stateOf(group) {
  if (group.decision === null) return null;
  if (group.decision === NONE) return "no duplicates";
  const kept = group.images.find((image) => image.id === group.decision);
  return `keep ${kept ? parts(kept.image_path).name : group.decision}`;
}

function decisionOf(group, image) {
  if (group.decision === null) return "";
  if (group.decision === NONE) return NONE;
  return image.id === group.decision ? "keep" : "not kept";
}

// What was decided of a group: the last word about all of its images, so that a group that grew is asked about again.
function decisions(kept) {
  const last = new Map();
  for (const one of kept) {
    const entry = { keep: one.keep, images: new Set(one.images) };
    for (const image of one.images) last.set(image, entry);
  }
  return (group) => {
    const found = last.get(group.images[0].id);
    const isAbout = found && ids(group).every((id) => found.images.has(id) && last.get(id) === found) && ids(group).includes(found.keep);
    return isAbout ? found.keep : null;
  };
}

// As RFC 4180 has it; a text that a spreadsheet would take for a formula begins with an apostrophe.
export function csv(rows) {
  const cell = (value) => {
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const names = Object.keys(rows[0] ?? { group: "" });
  return [names, ...rows.map((row) => names.map((name) => row[name]))].map((one) => one.map(cell).join(",")).join("\r\n") + "\r\n";
}
