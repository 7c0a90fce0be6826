// Hits as a grid, with a slider that leaves out the less similar ones without asking again.

import { h, put, isTyping } from "../lib/dom.js";
import { count, cosine, isProven, many, parts, spoken, tone, why } from "../lib/words.js";
import { picture } from "./picture.js";

export function badge(hit) {
  return hit.verdict && h(`b.badge.${tone(hit.verdict)}`, {}, hit.verdict);
}

function tile(hit, { images, hrefOf, onLike }) {
  const { name, folder } = parts(hit.image_path);
  const link = h(
    "a.shown",
    { href: hrefOf(hit), tabindex: "-1", "data-id": hit.id },
    picture(images, images.tile(hit.id), spoken(hit)),
  );
  return h(
    "li.tile",
    {},
    link,
    h("div.judged", {}, badge(hit), h("span.number", { title: "cosine similarity" }, cosine(hit.similarity))),
    why(hit) && h("p.why", {}, why(hit)),
    h("p.name", { title: hit.image_path }, name, folder && h("span.folder", {}, folder)),
    onLike &&
      h(
        "button.like.quiet",
        { type: "button", tabindex: "-1", onclick: () => onLike(hit), "aria-label": `Search with this: hit ${hit.rank}, ${name}` },
        "Search with this",
      ),
  );
}

// Skeletons in the places of the hits that are awaited.
export function skeletons(number) {
  const one = () => h("li.tile", {}, h("span.well.loading"), h("p.bone"), h("p.bone.short"));
  return h("ol.grid", { "aria-hidden": "true" }, Array.from({ length: Math.min(number, 12) }, one));
}

// The grid, and the slider above it. `onLeast` is told where the slider stands, `options` is what a tile needs.
export function hitGrid(result, least, options) {
  const lowest = Math.min(...result.hits.map((hit) => hit.similarity));
  const highest = Math.max(...result.hits.map((hit) => hit.similarity));
  const tiles = result.hits.map((hit) => ({ hit, element: tile(hit, options) }));
  const list = h("ol.grid", { onkeydown: moved, onfocusin: ({ target }) => current(target.closest(".tile")) });
  put(list, tiles.map((one) => one.element));
  const told = h("output", { for: "least" });
  const slider = h("input", {
    type: "range",
    id: "least",
    min: Math.floor(lowest * 100) / 100,
    max: Math.ceil(highest * 100) / 100,
    step: 0.01,
    value: least ?? Math.floor(lowest * 100) / 100,
    oninput: () => filter(),
    onchange: () => options.onLeast?.(slider.value <= slider.min ? null : Number(slider.value)),
  });
  const none = h("p.note", { hidden: true }, "No hit is so similar: move the slider to the left.");
  const bar = h(
    "div.slider",
    {},
    h("label", { for: "least" }, "Similarity from"),
    slider,
    told,
  );

  function shown() {
    return tiles.filter((one) => !one.element.hidden).map((one) => one.element);
  }

  function filter() {
    const from = Number(slider.value);
    for (const { hit, element } of tiles) element.hidden = hit.similarity < from - 1e-9 && !isProven(hit);
    const left = shown().length;
    told.textContent = `${from.toFixed(2)} · ${left === tiles.length ? many(left, "hit") : `${count(left)} of ${many(tiles.length, "hit")}`}`;
    none.hidden = left > 0;
    if (!shown().some((element) => element.querySelector("a").tabIndex === 0)) current(shown()[0]);
  }

  // One tile is in the order of Tab, and the arrows go on from there.
  function current(element) {
    if (!element) return;
    for (const one of tiles) {
      const index = one.element === element ? 0 : -1;
      one.element.querySelectorAll("a, button").forEach((target) => (target.tabIndex = index));
    }
  }

  function moved(event) {
    if (isTyping(event) || event.shiftKey) return;
    const all = shown();
    const at = all.indexOf(event.target.closest(".tile"));
    if (at < 0) return;
    if (event.key === " " && event.target.matches("a") && options.onLike) {
      event.preventDefault();
      options.onLike(tiles.find((one) => one.element === all[at]).hit);
      return;
    }
    const columns = all.filter((one) => one.offsetTop === all[0].offsetTop).length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: all.length - 1 - at };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = all[Math.max(0, Math.min(all.length - 1, at + steps[event.key]))];
    next.querySelector("a").focus();
    next.scrollIntoView({ block: "nearest" });
  }

  current(tiles[0]?.element);
  filter();
  const element = h("div", {}, tiles.length > 1 && highest > lowest && bar, list, none);
  return { element, focus: (id) => list.querySelector(id == null ? 'a[tabindex="0"]' : `a[data-id="${id}"]`)?.focus() };
}

// What the answer says besides its hits, a sentence each.
export function notes(result, k, isFiltered) {
  const said = [];
  const { searched, verified, hits } = result;
  if (searched && searched.images < searched.listed) {
    said.push(`Searched ${percentDown(searched)} of the images: ${count(searched.images)} of ${count(searched.listed)}. The others are not embedded yet.`);
  }
  if (hits.length < k) {
    const why = isFiltered ? "the filter leaves no more" : "the job has no more embedded images";
    said.push(hits.length ? `${many(hits.length, "hit")} instead of ${count(k)}: ${why}.` : `No hits: ${why}.`);
  }
  if (verified?.reason) said.push(`No verdicts: ${verified.reason}`);
  if (verified?.unread) said.push(`${many(verified.unread, "near image")} could not be compared: ${verified.why_unread}`);
  if (verified?.ended === "seconds") said.push(`Time was up after ${count(verified.compared)} of ${count(verified.candidates)} near images were compared.`);
  return said;
}

function percentDown({ images, listed }) {
  const share = Math.floor((100 * images) / listed);
  return share ? `${share} %` : "less than 1 %";
}
