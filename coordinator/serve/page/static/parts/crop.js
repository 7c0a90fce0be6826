// Choose a part of a picture with the pointer or the arrow keys; the part is cut from all of its pixels.

import { dialog, h } from "../lib/dom.js";

const LEAST = 0.04;
const STEP = 0.02;

// `source` is where the browser loads the picture from. `use` gets the part as a Blob.
export function cropDialog(source, load, use) {
  const image = h("img", { alt: "The query", draggable: "false" });
  const box = { x: 0.2, y: 0.2, w: 0.6, h: 0.6 };
  const frame = h(
    "div.frame",
    {
      tabindex: "0",
      role: "application",
      "aria-label": "The part to search with. Arrow keys move it, with Shift they resize it.",
      onkeydown: key,
    },
    h("span.handle", { "data-edge": "nw" }), h("span.handle", { "data-edge": "ne" }),
    h("span.handle", { "data-edge": "sw" }), h("span.handle", { "data-edge": "se" }),
  );
  const canvas = h("div.cropped", { onpointerdown: pressed }, image, frame);
  const search = h("button.main", { type: "button", onclick: done }, "Search with this part");
  const shown = dialog(
    "Search with a part",
    h("div.stack", {}, h("p.quiet-text", {}, "Drag over the picture, or move the frame with the arrow keys and resize it with Shift."), canvas),
    search,
  );
  shown.classList.add("wide");
  image.addEventListener("load", draw);
  image.addEventListener("error", () => {
    canvas.replaceChildren(h("p.note", {}, "This browser can't show the picture, so no part of it can be cut."));
    search.disabled = true;
  });
  load(image, source);
  frame.focus();

  function draw() {
    box.w = Math.min(1, Math.max(LEAST, box.w));
    box.h = Math.min(1, Math.max(LEAST, box.h));
    box.x = Math.max(0, Math.min(1 - box.w, box.x));
    box.y = Math.max(0, Math.min(1 - box.h, box.y));
    const percent = (value) => `${100 * value}%`;
    Object.assign(frame.style, { left: percent(box.x), top: percent(box.y), width: percent(box.w), height: percent(box.h) });
  }

  function key(event) {
    const steps = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] };
    if (event.key === "Enter") return void done();
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.shiftKey) [box.w, box.h] = [box.w + step[0], box.h + step[1]];
    else [box.x, box.y] = [box.x + step[0], box.y + step[1]];
    draw();
  }

  function pressed(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    frame.focus();
    const room = canvas.getBoundingClientRect();
    const at = ({ clientX, clientY }) => [clamp((clientX - room.left) / room.width), clamp((clientY - room.top) / room.height)];
    const [startX, startY] = at(event);
    const from = { ...box };
    const edge = event.target.dataset?.edge;
    const moved = (to) => {
      const [x, y] = at(to);
      if (edge) {
        const [fixedX, fixedY] = [edge.includes("w") ? from.x + from.w : from.x, edge.includes("n") ? from.y + from.h : from.y];
        between(fixedX, fixedY, x, y);
      } else if (event.target === frame) {
        Object.assign(box, { x: from.x + x - startX, y: from.y + y - startY });
      } else {
        between(startX, startY, x, y);
      }
      draw();
    };
    canvas.setPointerCapture(event.pointerId);
    canvas.addEventListener("pointermove", moved);
    canvas.addEventListener("pointerup", () => canvas.removeEventListener("pointermove", moved), { once: true });
  }

  function between(x, y, otherX, otherY) {
    Object.assign(box, { x: Math.min(x, otherX), y: Math.min(y, otherY), w: Math.abs(otherX - x), h: Math.abs(otherY - y) });
  }

  function done() {
    if (!image.naturalWidth) return;
    const [width, height] = [Math.max(1, Math.round(box.w * image.naturalWidth)), Math.max(1, Math.round(box.h * image.naturalHeight))];
    const cut = h("canvas", { width, height });
    cut.getContext("2d").drawImage(image, Math.round(box.x * image.naturalWidth), Math.round(box.y * image.naturalHeight), width, height, 0, 0, width, height);
    cut.toBlob((blob) => (shown.close(), use(blob)), "image/png");
  }
}

const clamp = (value) => Math.max(0, Math.min(1, value));
