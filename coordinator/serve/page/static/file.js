// The match page of searches in a file of its own: what the page of the server shows, without a server.

import { h, put } from "./lib/dom.js";
import { many } from "./lib/words.js";
import { comparison } from "./parts/compare.js";
import { hitGrid, notes } from "./parts/hits.js";
import { picture } from "./parts/picture.js";

const { job, searches } = JSON.parse(document.getElementById("searches").textContent);
const main = document.getElementById("main");
let compared = null;

// Pictures lie in the file; one that is missing has no source.
function imagesOf({ pictures }) {
  const small = (id) => pictures[id]?.source ?? null;
  return {
    tile: small,
    large: small,
    file: (id) => pictures[id]?.original ?? null,
    facts: async (id) => pictures[id]?.facts ?? {},
    load: (image, source) => (source ? (image.src = source) : queueMicrotask(() => image.dispatchEvent(new Event("error")))),
  };
}

function show() {
  const [number, id] = location.hash.slice(1).split("/").map(Number);
  const at = searches[number]?.result.hits.findIndex((hit) => hit.id === id) ?? -1;
  compared?.close();
  compared = null;
  if (!location.hash || at < 0) return void put(main, searches.map(section));
  const { query, result } = searches[number];
  compared = comparison(query, {
    images: imagesOf(searches[number]),
    hits: result.hits,
    at,
    onMove: (to) => location.replace(`#${number}/${result.hits[to].id}`),
    onClose: () => (location.hash = ""),
  });
  put(main, compared.element);
  compared.focus();
  scrollTo({ top: 0 });
}

function section(search, number) {
  const { query, result, k, isFiltered } = search;
  const images = imagesOf(search);
  const grid = result.hits.length > 0 && hitGrid(result, null, { images, hrefOf: (hit) => `#${number}/${hit.id}` });
  return h(
    "section.match-file",
    { "aria-label": query.name },
    h("figure.query", {}, query.source ? picture(images, query.source, `The query, ${query.name}`, { lost: "This browser can't show the query." }) : h("span.well", {}, h("span.lost", {}, query.why)), h("figcaption", {}, query.name)),
    h(
      "div.found",
      {},
      h("p.summary", {}, result.error ? query.name : `${many(result.hits.length, "hit")} in ${job}`),
      result.error ? h("p.note", {}, result.error) : notes(result, k, isFiltered).map((text) => h("p.note", {}, text)),
      grid && grid.element,
    ),
  );
}

addEventListener("hashchange", show);
show();
