// Search: what is searched for on the one side, the hits or the comparison with one of them on the other.

import { get, imagesOf, jobPath, post, postForm, Problem } from "../lib/api.js";
import { h, put, say } from "../lib/dom.js";
import { many, parts } from "../lib/words.js";
import { cameraDialog } from "../parts/camera.js";
import { comparison } from "../parts/compare.js";
import { cropDialog } from "../parts/crop.js";
import { filterForm } from "../parts/filter.js";
import { hitGrid, notes, skeletons } from "../parts/hits.js";
import { picture } from "../parts/picture.js";
import { problemNote } from "../parts/states.js";

const KINDS = "image/*,.heic,.heif,.avif,.jxl,.dng,.cr2,.cr3,.nef,.arw";
const RETRIES_SECONDS = 90;
const NOT_LOADED = "not shown: this page loads nothing from elsewhere";

// Uploads of this page, by the number that the history has of them: an image is never in an address.
const uploads = new Map();

export function searchView(page, job) {
  const images = imagesOf(job);
  const root = h("div.search");
  const side = h("section.side", { "aria-label": "What to search for" });
  const found = h("section.found", { "aria-label": "Hits" });
  put(root, side, found);
  let state = {}; // What is shown: parameters, the query, its result.
  let asked = null; // The AbortController of the search under way.
  let grid = null;
  let compared = null;
  let columns = [];
  let takesUrls = false; // Whether this server fetches an image by its URL.
  get(jobPath(job)).then((told) => (([columns, takesUrls] = [told.columns ?? [], told.urls === true]), drawSide()), () => {});

  function update(params, history) {
    const id = params.get("like");
    const upload = id == null ? uploads.get(history?.upload) : null;
    const query = id != null ? { key: `like ${id}`, id: Number(id) } : upload ? { key: `upload ${history.upload}`, ...upload } : history?.url ? { key: `url ${history.url}`, address: history.url } : null;
    const next = {
      query,
      isLost: query == null && history?.upload != null,
      k: Math.max(1, Math.min(1000, Number(params.get("k")) || 20)),
      where: params.get("where") || null,
      verify: params.get("verify") || "auto",
      least: params.has("min") ? Number(params.get("min")) : null,
      hit: params.has("hit") ? Number(params.get("hit")) : null,
    };
    const before = state;
    const same = ["k", "where", "verify"].every((name) => before[name] === next[name]) && before.query?.key === next.query?.key;
    state = { ...next, result: same ? before.result : null };
    if (!same || before.isLost !== next.isLost) drawSide();
    if (state.query && !state.result) void search();
    else drawFound(before.hit);
  }

  function go(change, options) {
    const params = new URLSearchParams();
    const next = { like: state.query?.id, k: state.k, where: state.where, verify: state.verify, min: state.least, hit: state.hit, ...change };
    if (next.k === 20) next.k = null;
    if (next.verify === "auto") next.verify = null;
    for (const [name, value] of Object.entries(next)) if (value != null && value !== "") params.set(name, value);
    // An upload, and the URL of an image, which may have a password in it, are in the history of the tab alone.
    const isOther = "like" in change;
    const [upload, url] = isOther ? [null, null] : [state.query?.upload ?? null, state.query?.address ?? null];
    page.go(job, "search", params, { upload, url, ...options });
  }

  function useBlob(blob, name) {
    if (!blob) return;
    const upload = crypto.randomUUID?.() ?? String(Math.random());
    uploads.set(upload, { blob, name, upload, url: URL.createObjectURL(blob) });
    go({ like: null, hit: null, min: null }, { upload });
  }

  const useUrl = (url) => go({ like: null, hit: null, min: null }, { url });

  function like(hit) {
    go({ like: hit.id, hit: null, min: null });
    scrollTo({ top: 0 });
  }

  const sourceOf = (query) => (query.address ? null : query.url ?? images.large(query.id));

  function drawSide() {
    const { query } = state;
    const focused = side.contains(document.activeElement) ? document.activeElement.id : "";
    const settings = side.querySelector("details");
    const isOpen = settings && root.classList.contains("empty") === !query ? settings.open : Boolean(query) && matchMedia("(min-width: 52rem)").matches;
    const choose = h("input.unseen", { type: "file", accept: KINDS, id: "file", tabindex: "-1", "aria-hidden": "true", onchange: () => useBlob(choose.files[0], choose.files[0]?.name) });
    const button = (text, run, kind = "quiet") => h(`button.${kind}`, { type: "button", onclick: run }, text);
    const canPaste = Boolean(navigator.clipboard?.read);
    const canPhotograph = Boolean(navigator.mediaDevices?.getUserMedia);
    const ways = h(
      "div.row.ways",
      {},
      button(query ? "Another image" : "Choose an image", () => choose.click(), query ? "quiet" : "main"),
      canPaste && button("Paste", paste),
      canPhotograph && button("Camera", () => cameraDialog((blob) => useBlob(blob, "photo.jpg"), (why) => put(told, h("p.note", {}, why)))),
      choose,
    );
    const told = h("div.told");
    const shown = query
      ? h(
          "figure.query",
          {},
          query.address
            ? h("span.well", {}, h("span.lost", {}, NOT_LOADED))
            : picture({ load: images.load }, sourceOf(query), `The query, ${nameOf(query)}`, { lazy: false, lost: "no preview in this browser" }),
          h("figcaption", {}, query.address ?? nameOf(query)),
          !query.address && button("Search with a part", part),
        )
      : h("div.drop", {}, h("p.lead", {}, matchMedia("(pointer: coarse)").matches ? "Search with an image" : "Drop or paste an image"), h("p.quiet-text", {}, `Finds the images of ${job} that are most like it, and says which of them show the same picture.`));
    root.classList.toggle("empty", !query);
    put(
      side,
      shown,
      ways,
      takesUrls && urlForm(),
      told,
      state.isLost && h("p.note", {}, "The image of this search is not in its address: drop it again."),
      h(
        "details.settings",
        { open: isOpen },
        h("summary", {}, settingsNow()),
        h("label", { for: "k" }, "Hits"),
        h("input", { id: "k", type: "number", min: 1, max: 1000, value: state.k, inputmode: "numeric", onchange: ({ target }) => target.reportValidity() && go({ k: Number(target.value) || 20, hit: null, min: null }) }),
        h("label", { for: "verify" }, "Compare pictures"),
        h(
          "select",
          { id: "verify", onchange: ({ target }) => go({ verify: target.value, hit: null }) },
          [["auto", "where in doubt"], ["always", "always"], ["never", "never"]].map(([value, text]) => h("option", { value, selected: value === state.verify }, text)),
        ),
        filterForm(columns, state.where, (where) => where !== (state.where ?? "") && go({ where: where || null, hit: null, min: null })),
      ),
    );
    if (focused) document.getElementById(focused)?.focus();
  }

  function urlForm() {
    const field = h("input", { id: "url", type: "url", required: true, placeholder: "https://", autocomplete: "off", "aria-label": "URL of an image" });
    return h("form.row.by-url", { onsubmit: (event) => (event.preventDefault(), useUrl(field.value.trim())) }, field, h("button.quiet", {}, "Search by URL"));
  }

  function settingsNow() {
    const { k, where, verify } = state;
    return `Settings: ${[many(k, "hit"), { always: "pictures compared", never: "pictures not compared" }[verify], where && "filtered"].filter(Boolean).join(", ")}`;
  }

  const nameOf = (query) => (query.id != null ? `image ${query.id} of the job` : query.name ?? (query.address ? "an image by its URL" : "pasted image"));

  async function paste() {
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find((one) => one.startsWith("image/"));
        if (type) return useBlob(await item.getType(type), "pasted image");
        const link = takesUrls && item.types.includes("text/plain") && linkIn(await (await item.getType("text/plain")).text());
        if (link) return useUrl(link);
      }
      page.note("There is no image in the clipboard.");
    } catch {
      page.note("The browser gives no access to the clipboard. Press Ctrl+V, or ⌘V, instead.");
    }
  }

  function part() {
    const source = state.query.url ?? images.large(state.query.id);
    cropDialog(source, images.load, (blob) => useBlob(blob, `a part of ${nameOf(state.query).replace(/^a part of /, "")}`));
  }

  // Ask, and ask again while the server says that waiting helps.
  async function search() {
    asked?.abort();
    const { signal } = (asked = new AbortController());
    const { query, k, where, verify } = state;
    drawWaiting("");
    const slow = setTimeout(() => drawWaiting("The query worker takes its time. The first answer loads the model, which takes some seconds."), 2500);
    const until = Date.now() + RETRIES_SECONDS * 1000;
    try {
      for (;;) {
        try {
          const fields = { k, where, verify };
          const path = `${jobPath(job)}/search`;
          const result = query.blob
            ? await postForm(path, { image: query.blob, ...fields }, signal)
            : await post(path, { ...(query.address ? { url: query.address } : { image_id: query.id }), ...Object.fromEntries(Object.entries(fields).filter(([, value]) => value != null)) }, signal);
          images.seen(result.hits[0]?.file);
          state.result = result;
          say(result.hits.length ? `${many(result.hits.length, "hit")}.` : "No hits.");
          drawFound();
          return;
        } catch (error) {
          const mayWait = error instanceof Problem && error.wait && [429, 503].includes(error.status) && Date.now() < until;
          if (!mayWait) throw error;
          clearTimeout(slow);
          drawWaiting(`${error.message} It is asked again.`);
          await pause(error.wait * 1000, signal);
        }
      }
    } catch (error) {
      if (error.name !== "AbortError") drawError(error);
    } finally {
      clearTimeout(slow);
    }
  }

  function drawWaiting(text) {
    compared?.close();
    compared = grid = null;
    found.setAttribute("aria-busy", "true");
    put(found, text && h("p.note", { role: "status" }, text, " ", h("button.quiet", { type: "button", onclick: stop }, "Stop")), skeletons(state.k));
  }

  function stop() {
    asked?.abort();
    drawError(new Error("The search was stopped."));
  }

  function drawError(error) {
    found.removeAttribute("aria-busy");
    const again = h("button.main", { type: "button", onclick: () => void search() }, "Try again");
    put(found, problemNote(error, { job, page, again, isUpload: Boolean(state.query?.blob) }));
  }

  function drawFound(hitBefore) {
    compared?.close();
    compared = null;
    found.removeAttribute("aria-busy");
    const { result, query } = state;
    if (!result) return void put(found);
    const at = state.hit == null ? -1 : result.hits.findIndex((hit) => hit.id === state.hit);
    side.classList.toggle("beside", at < 0);
    root.classList.toggle("comparing", at >= 0);
    if (at >= 0) {
      const known = query.id != null ? images.facts(query.id).catch(() => ({})) : query.blob ? { bytes: query.blob.size } : {};
      compared = comparison(
        { name: nameOf(query), source: sourceOf(query), facts: known, isStored: query.id != null, lost: NOT_LOADED },
        {
          images, hits: result.hits, at, onLike: like, onPart: query.address ? null : part,
          onMove: (to) => go({ hit: result.hits[to].id }, { replace: true }),
          onClose: () => go({ hit: null }),
        },
      );
      put(found, compared.element);
      compared.focus();
      scrollTo({ top: 0 });
      return;
    }
    const said = notes(result, state.k, Boolean(state.where));
    grid = result.hits.length
      ? hitGrid(result, state.least, {
          images, onLike: like,
          hrefOf: (hit) => page.href(job, "search", withHit(hit.id)),
          onLeast: (min) => go({ min }, { replace: true }),
        })
      : null;
    put(
      found,
      h("p.summary", {}, `${many(result.hits.length, "hit")} in ${job}`, h("span.quiet-text", {}, ` · ${result.milliseconds.toFixed(0)} ms`)),
      said.map((text) => h("p.note", {}, text)),
      grid?.element,
    );
    if (hitBefore != null) grid?.focus(hitBefore);
  }

  function withHit(hit) {
    const params = new URLSearchParams(page.params());
    params.set("hit", hit);
    return params;
  }

  // What is dropped or pasted: an image, or where URLs are allowed a link to one. Returns whether it is searched with.
  function taken(data) {
    const [file] = data?.files ?? [];
    const link = takesUrls && linkIn(data?.getData("text/uri-list") || data?.getData("text/plain") || "");
    if (file) useBlob(file, file.name);
    else if (link) useUrl(link);
    return Boolean(file || link);
  }

  function dropped(data) {
    if (!taken(data) && data?.types?.length) page.note("That is no file. Save the image first, or copy the image itself and paste it.");
  }

  function pasted(data) {
    const isTaken = taken(data);
    if (!isTaken) page.note("There is no image in the clipboard.");
    return isTaken;
  }

  return { element: root, update, dropped, pasted, focus: () => grid?.focus(), close: () => (asked?.abort(), compared?.close()), title: () => (state.query ? `${parts(nameOf(state.query)).name} in ${job}` : job) };
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(new DOMException("stopped", "AbortError"))), { once: true });
  });
}

// The first word of a text, if it is a link.
function linkIn(text) {
  const [word] = text.trim().split(/\s/);
  return /^https?:\/\/./i.test(word) ? word : null;
}
