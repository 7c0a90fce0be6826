// Make elements, and say things to people who listen to the page.

const SVG = "http://www.w3.org/2000/svg";

// h("button.quiet", {onclick: f}, "Text"): an element with classes, attributes, listeners and children.
export function h(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElement(name || "div"), classes, properties, children);
}

export function svg(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  return filled(document.createElementNS(SVG, name), classes, properties, children);
}

function filled(element, classes, properties, children) {
  if (classes.length) element.classList.add(...classes);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-") && typeof value === "boolean") element.setAttribute(name, String(value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(3).filter((child) => child != null && child !== false));
  return element;
}

export function put(parent, ...children) {
  parent.replaceChildren(...children.flat(3).filter((child) => child != null && child !== false));
  return parent;
}

// What a screen reader is to say; the region is emptied first, so that the same words are said twice.
export function say(text) {
  const region = document.getElementById("said");
  if (!region) return;
  region.textContent = "";
  requestAnimationFrame(() => (region.textContent = text));
}

// Whether a key belongs to what is being typed, and is no shortcut.
export function isTyping(event) {
  const target = event.target;
  const types = target instanceof HTMLElement && (target.isContentEditable || target.matches("textarea, select"));
  const text = target instanceof HTMLInputElement && !["range", "checkbox", "radio", "button", "file"].includes(target.type);
  return types || text || event.ctrlKey || event.metaKey || event.altKey;
}

export function dialog(title, body, ...buttons) {
  const close = h("button.quiet", { type: "button", onclick: () => box.close() }, "Close");
  const box = h(
    "dialog",
    { "aria-label": title, onclose: () => box.remove() },
    h("h2", {}, title),
    body,
    h("div.row.end", {}, ...buttons, close),
  );
  document.body.append(box);
  box.showModal();
  return box;
}
