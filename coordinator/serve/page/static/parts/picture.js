// One picture of a job or a query, with its place kept while it loads, and words where it can't be shown.

import { h } from "../lib/dom.js";

// A worker that starts, or has too much to do, gives the thumbnail a little later.
const AGAIN_SECONDS = [2, 6];

export function picture(images, source, alt, { lazy = true, lost = "no thumbnail" } = {}) {
  const image = h("img", { alt, loading: lazy ? "lazy" : "eager", decoding: "async", draggable: "false" });
  const well = h("span.well.loading", {}, image);
  image.addEventListener("load", () => well.classList.remove("loading"));
  const waits = source?.startsWith("/v1/") ? [...AGAIN_SECONDS] : [];
  image.addEventListener("error", () => {
    if (waits.length) return void setTimeout(() => images.load(image, source), waits.shift() * 1000);
    well.classList.remove("loading");
    well.replaceChildren(h("span.lost", {}, lost));
    well.dispatchEvent(new Event("lost"));
  });
  images.load(image, source);
  return Object.assign(well, { image });
}
