// A list of many rows, of which only those in sight are in the page.

import { h } from "../lib/dom.js";

const MORE = 6;

// `rowOf(item, index)` makes the content of a row that is `height` pixels high; `onChoose` gets the index of a row.
export function windowedList(label, height, rowOf, onChoose) {
  const inner = h("div.rows", { role: "presentation" });
  const list = h("div.windowed", { role: "listbox", tabindex: "0", "aria-label": label, onscroll: draw, onclick: clicked }, inner);
  const watcher = new ResizeObserver(draw);
  watcher.observe(list);
  const shown = new Map();
  let items = [];
  let chosen = -1;

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / height) - MORE);
    const last = Math.min(items.length, Math.ceil((list.scrollTop + list.clientHeight) / height) + MORE);
    for (const [index, row] of shown) {
      if (index < first || index >= last || row.item !== items[index]) {
        row.element.remove();
        shown.delete(index);
      }
    }
    for (let index = first; index < last; index++) {
      if (!shown.has(index)) {
        const element = h("div.one", { role: "option", id: `row-${index}`, "data-index": index, "aria-setsize": items.length, "aria-posinset": index + 1 }, rowOf(items[index], index));
        element.style.transform = `translateY(${index * height}px)`;
        inner.append(element);
        shown.set(index, { element, item: items[index] });
      }
      shown.get(index).element.setAttribute("aria-selected", index === chosen);
    }
    inner.style.height = `${items.length * height}px`;
    if (shown.has(chosen)) list.setAttribute("aria-activedescendant", `row-${chosen}`);
    else list.removeAttribute("aria-activedescendant");
  }

  function clicked(event) {
    const row = event.target.closest("[data-index]");
    if (row) onChoose(Number(row.dataset.index));
  }

  return {
    element: list,
    set(next, at) {
      [items, chosen] = [next, at];
      const top = at * height;
      if (at >= 0 && (top < list.scrollTop || top + height > list.scrollTop + list.clientHeight)) list.scrollTop = Math.max(0, top - list.clientHeight / 3);
      draw();
    },
    close: () => watcher.disconnect(),
  };
}
