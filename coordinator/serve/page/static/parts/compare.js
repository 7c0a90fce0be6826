// A query and one of its hits side by side, or one over the other, with the region that both show.

import { h, isTyping, put, say } from "../lib/dom.js";
import { cssMatrix, inverse, outline, through, upright } from "../lib/geometry.js";
import { bytes, cosine, parts, why } from "../lib/words.js";
import { badge } from "./hits.js";
import { picture } from "./picture.js";

const MOST = 12;

// `query` is {name, source, facts}, and `lost` says why it has no source; `options` has images, hits, at, onMove, onClose, onLike and onPart. A `size` of both
// is what the coordinates of the evidence are in, where that is not the size of the image.
export function comparison(query, options) {
  const { images, hits, at } = options;
  const hit = hits[at];
  const title = parts(hit.image_path).name;
  const view = { zoom: 1, x: 0.5, y: 0.5, isSwapped: false, isOver: false };
  const left = pane(query.source && picture(images, query.source, `The query, ${query.name}`, { lazy: false, lost: "This browser can't show the query." }));
  const right = pane(picture(images, images.large(hit.id), `The hit, ${title}`, { lazy: false, lost: "The image can't be read." }));
  const stage = h("div.stage");
  const wipe = h("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "How much of the hit is shown", oninput: () => lay() });
  const facts = h("div.facts");
  const level = h("output", {}, "100 %");
  const pressed = (name, toggle, text) => h("button.quiet", { type: "button", "aria-pressed": "false", "data-key": name, onclick: toggle, title: `${text} (${name})` }, text);
  const swap = pressed("x", () => set({ isSwapped: !view.isSwapped }), "Swap");
  const over = pressed("o", () => set({ isOver: !view.isOver }), "One over the other");
  const button = (text, run, more = {}) => h("button.quiet", { type: "button", onclick: run, ...more }, text);

  const element = h(
    "section.compare",
    { "aria-label": `Query and hit ${hit.rank}` },
    h(
      "div.row",
      {},
      button(`← ${options.back ?? "All hits"}`, options.onClose, { title: "Esc" }),
      h("span.grow"),
      hits.length > 1 && [button("‹", () => options.onMove(at - 1), { disabled: at === 0, "aria-label": "The hit before", title: "Left arrow" }),
      h("span.number", {}, `${hit.rank} of ${hits.length}`),
      button("›", () => options.onMove(at + 1), { disabled: at === hits.length - 1, "aria-label": "The next hit", title: "Right arrow" })],
    ),
    h("h1.title", { tabindex: "-1" }, title),
    h("div.judged", {}, badge(hit), h("span.number", {}, `similarity ${cosine(hit.similarity)}`), why(hit) && h("span.why", {}, why(hit))),
    h(
      "div.row.tools",
      {},
      swap,
      over,
      h("span.zoom", { role: "group", "aria-label": "Zoom of both" },
        button("−", () => zoomBy(1 / 1.5), { "aria-label": "Smaller" }), level,
        button("+", () => zoomBy(1.5), { "aria-label": "Larger" }), button("Fit", () => set({ zoom: 1, x: 0.5, y: 0.5 }))),
    ),
    stage,
    h(
      "div.row.tools",
      {},
      h("code.path", {}, hit.image_path),
      button("Copy path", copy),
      images.file && h("a.button.quiet", { href: images.file(hit.id), target: "_blank", rel: "noopener", onclick: opened }, "Open original"),
      h("span.grow"),
      options.onLike && button("Search with this hit", () => options.onLike(hit)),
      options.onPart && button("Search with a part of the query", options.onPart),
    ),
    facts,
  );
  const watcher = new ResizeObserver(() => lay());
  watcher.observe(stage);
  for (const one of [left, right]) {
    one.picture?.image.addEventListener("load", () => lay());
    one.element.addEventListener("wheel", (event) => wheeled(event, one), { passive: false });
    one.element.addEventListener("pointerdown", (event) => dragged(event, one));
  }
  left.facts = query.facts ?? {};
  const known = images.facts(hit.id).then((told) => (right.facts = told), () => ({}));
  Promise.all([Promise.resolve(query.facts), known]).then(([ofQuery]) => {
    left.facts = ofQuery ?? {};
    put(facts, table(left.facts, right.facts));
    lay();
  });
  arrange();

  function pane(shown) {
    const inner = h("div.inner", {}, shown ?? h("span.lost", {}, query.lost ?? "The query has no picture."));
    return { element: h("figure.pane", {}, inner), inner, picture: shown, facts: {}, outline: null };
  }

  function set(change) {
    Object.assign(view, change);
    arrange();
  }

  function arrange() {
    swap.setAttribute("aria-pressed", view.isSwapped);
    over.setAttribute("aria-pressed", view.isOver);
    stage.classList.toggle("over", view.isOver);
    const caption = (one, text) => put(one.element, one.inner, h("figcaption", {}, text));
    caption(left, "query");
    caption(right, "hit");
    const order = view.isSwapped ? [right, left] : [left, right];
    put(stage, order.map((one) => one.element), view.isOver && h("label.wipe", {}, wipe));
    lay();
  }

  // The pixels that evidence speaks of, as far as they are known.
  function sizeOf(one) {
    const image = one.picture?.image;
    if (!image?.naturalWidth) return null;
    const shown = { width: image.naturalWidth, height: image.naturalHeight };
    return upright((one === left ? query.size : options.size) ?? one.facts, shown) ?? (one === left && !query.isStored ? shown : null);
  }

  // Lay the pictures out: each fits its pane at zoom 1, and both show the same spot in the middle.
  function lay() {
    const sizes = { left: sizeOf(left), right: sizeOf(right) };
    const { evidence } = hit;
    // Only where the pixels of both are known is there a way from the ones to the others.
    const mapped = sizes.left && sizes.right ? evidence : null;
    level.textContent = `${Math.round(view.zoom * 100)} %`;
    for (const one of [left, right]) {
      const image = one.picture?.image;
      if (!image?.naturalWidth) continue;
      const room = one.element.getBoundingClientRect();
      const fit = Math.min(room.width / image.naturalWidth, room.height / image.naturalHeight);
      const [width, height] = [image.naturalWidth * fit, image.naturalHeight * fit];
      const [x, y] = spot(one, mapped, sizes);
      Object.assign(one.inner.style, { width: `${width}px`, height: `${height}px` });
      one.inner.style.transform = `translate(${room.width / 2 - x * width * view.zoom}px, ${room.height / 2 - y * height * view.zoom}px) scale(${view.zoom})`;
      one.element.style.clipPath = "";
      one.outline?.remove();
      const size = one === left ? sizes.left : sizes.right;
      if (evidence && size && !view.isOver) {
        const [quad, share] = one === left ? [evidence.query_quad, evidence.query_overlap] : [evidence.hit_quad, evidence.hit_overlap];
        one.inner.append((one.outline = outline(quad, share, size)));
      }
    }
    if (view.isOver) overlay(mapped, sizes);
  }

  function spot(one, evidence, sizes) {
    if (one === left || !evidence || view.zoom === 1) return [view.x, view.y];
    const [x, y] = through(evidence.matrix, [view.x * sizes.left.width, view.y * sizes.left.height]);
    return [x / sizes.right.width, y / sizes.right.height];
  }

  // The hit over the query, brought to the same pixels where the transform is known, and cut off where the slider is.
  function overlay(evidence, sizes) {
    const [below, above] = [left, right];
    if (evidence && below.inner.style.width && above.inner.style.width) {
      const perQuery = parseFloat(below.inner.style.width) / sizes.left.width;
      const perHit = parseFloat(above.inner.style.width) / sizes.right.width;
      above.inner.style.transform = `${below.inner.style.transform} ${cssMatrix(inverse(evidence.matrix), perHit, perQuery)}`;
    }
    const cut = view.isSwapped ? `inset(0 0 0 ${100 - wipe.value}%)` : `inset(0 ${100 - wipe.value}% 0 0)`;
    above.element.style.clipPath = cut;
  }

  function zoomBy(factor) {
    const zoom = Math.max(1, Math.min(MOST, view.zoom * factor));
    set(zoom === 1 ? { zoom, x: 0.5, y: 0.5 } : { zoom });
  }

  function wheeled(event, one) {
    if (!event.ctrlKey && !event.altKey && view.zoom === 1 && event.deltaY > 0) return;
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 300));
  }

  function dragged(event, one) {
    if (view.zoom === 1 || event.button !== 0) return;
    event.preventDefault();
    const from = { ...view, left: event.clientX, top: event.clientY };
    const moved = (to) => {
      const width = parseFloat(one.inner.style.width) * view.zoom, height = parseFloat(one.inner.style.height) * view.zoom;
      const clamp = (value) => Math.max(0, Math.min(1, value));
      Object.assign(view, { x: clamp(from.x - (to.clientX - from.left) / width), y: clamp(from.y - (to.clientY - from.top) / height) });
      lay();
    };
    one.element.setPointerCapture(event.pointerId);
    one.element.addEventListener("pointermove", moved);
    one.element.addEventListener("pointerup", () => one.element.removeEventListener("pointermove", moved), { once: true });
  }

  function opened(event) {
    if (!images.open) return;
    event.preventDefault();
    images.open(hit.id).catch((error) => say(error.message));
  }

  async function copy({ target }) {
    try {
      await navigator.clipboard.writeText(hit.image_path);
      say("The path is copied.");
      target.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(element.querySelector(".path"));
      say("The browser does not let the page copy: the path is selected instead.");
    }
  }

  function key(event) {
    if (isTyping(event) || (event.target.matches?.("input[type=range]") && event.key.startsWith("Arrow"))) return;
    const runs = {
      Escape: options.onClose,
      ArrowLeft: () => at > 0 && options.onMove(at - 1),
      ArrowRight: () => at < hits.length - 1 && options.onMove(at + 1),
      "+": () => zoomBy(1.5),
      "-": () => zoomBy(1 / 1.5),
      0: () => set({ zoom: 1, x: 0.5, y: 0.5 }),
      x: () => set({ isSwapped: !view.isSwapped }),
      o: () => set({ isOver: !view.isOver }),
    };
    if (!(event.key in runs) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    runs[event.key]();
  }

  document.addEventListener("keydown", key);
  return {
    element,
    focus: () => element.querySelector(".title").focus({ preventScroll: true }),
    close: () => (watcher.disconnect(), document.removeEventListener("keydown", key)),
  };
}

// What is known of both, a row a field; what differs is marked, and what neither has is left out.
function table(query, hit) {
  const hidden = new Set(["id", "image_path", "status", "sha256", "links", "verdict", "similarity", "shows_more", "is_finer"]);
  const names = [...new Set([...Object.keys(hit), ...Object.keys(query)])].filter((name) => !hidden.has(name));
  const rows = names
    .map((name) => ({ name, query: shown(name, query[name]), hit: shown(name, hit[name]) }))
    .filter((row) => row.query || row.hit);
  if (!rows.length) return null;
  const row = ({ name, query, hit }) => {
    const differs = query !== hit && query && hit;
    return h(`tr${differs ? ".differs" : ""}`, {}, h("th", { scope: "row" }, name), h("td", {}, query || "–"), h("td", {}, hit || "–", differs && h("span.unseen", {}, " (differs)")));
  };
  return h(
    "table",
    {},
    h("caption", {}, "What is known of both; what differs is marked"),
    h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col" }, "query"), h("th", { scope: "col" }, "hit"))),
    h("tbody", {}, rows.map(row)),
  );
}

function shown(name, value) {
  if (value == null || value === "") return "";
  if (name === "bytes" || name === "size") return bytes(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
