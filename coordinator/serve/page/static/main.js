// The page: its bar, its addresses, and which view is shown.

import { get, hasKey, isKnown, setKey } from "./lib/api.js";
import { dialog, h, isTyping, put, say } from "./lib/dom.js";
import { emptyState, KEY_WANTED, problemNote } from "./parts/states.js";
import { searchView } from "./views/search.js";

const VIEWS = { search: "Search", duplicates: "Duplicates", job: "Job" };
const LOADED = {
  search: async () => searchView,
  duplicates: async () => (await import("./views/duplicates.js")).duplicatesView,
  job: async () => (await import("./views/job.js")).jobView,
};
const KEYS = [
  ["Ctrl V", "search for the image in the clipboard"],
  ["← ↑ → ↓", "go through the hits; in the comparison, to the next hit"],
  ["Home End", "the first hit, the last hit"],
  ["Enter", "compare the hit with the query"],
  ["Space", "search with the hit"],
  ["Esc", "back to the hits"],
  ["+ − 0", "zoom the comparison, and fit it again"],
  ["x", "swap query and hit"],
  ["o", "lay the hit over the query"],
  ["Shift ← ↑ → ↓", "a part: resize its frame, which the arrows move; Enter searches with it"],
  ["↑ ↓  ← →", "duplicates: another group; another image of it"],
  ["K N O S", "duplicates: keep the marked one; no duplicates; only the marked one is none; skip"],
  ["C", "duplicates: compare the marked one with the suggested one"],
  ["?", "this list"],
];

const bar = document.getElementById("bar");
const main = document.getElementById("main");
let shown = null; // {job, name, view}
let jobs = [];
let problem = null; // Why the list of the jobs could not be read.

const page = {
  href(job, name, params = new URLSearchParams()) {
    const query = params.toString();
    return `#/${encodeURIComponent(job)}/${name}${query ? `?${query}` : ""}`;
  },
  go(job, name, params, { replace = false, ...state } = {}) {
    history[replace ? "replaceState" : "pushState"](state, "", page.href(job, name, params));
    void show();
  },
  params: () => location.hash.split("?")[1] ?? "",
  askKey,
  // What was asked did not work: another key may do it, or a sentence says why not.
  failed(error) {
    if ([401, 403].includes(error.status)) askKey(error.status === 403 ? error.message : KEY_WANTED);
    else page.note(error.message);
  },
  note(text) {
    say(text);
    const note = h("p.toast", {}, text);
    document.body.append(note);
    setTimeout(() => note.remove(), 6000);
  },
};

function place() {
  const [path, query] = location.hash.slice(1).split("?");
  const [, job = "", name = "search"] = path.split("/");
  try {
    return { job: decodeURIComponent(job), name: name in VIEWS ? name : "search", params: new URLSearchParams(query) };
  } catch {
    return { job: "", name: "search", params: new URLSearchParams() };
  }
}

async function show() {
  const { job, name, params } = place();
  if (!job) return showJobs();
  if (shown?.job !== job || shown?.name !== name) {
    shown?.view?.close?.();
    const make = await LOADED[name]();
    shown = { job, name, view: make(page, job) };
    put(main, shown.view.element);
  }
  drawBar();
  shown.view.update(params, history.state);
  document.title = `${shown.view.title?.() ?? job} – lookalike`;
}

function showJobs() {
  shown?.view?.close?.();
  shown = null;
  document.title = "lookalike";
  if (problem) {
    const again = h("button.main", { type: "button", onclick: () => void start() }, "Try again");
    put(main, problemNote(problem, { job: "", page, again }));
  } else if (jobs.length === 1) {
    history.replaceState(null, "", page.href(jobs[0], "search"));
    return void show();
  } else if (jobs.length) {
    put(main, h("h1", {}, "Jobs"), h("ul.jobs", {}, jobs.map((job) => h("li", {}, h("a", { href: page.href(job, "search") }, job)))));
  } else {
    const again = h("button.main", { type: "button", onclick: () => void start() }, "Look again");
    put(main, emptyState("There is no job yet", ["A job is what lookalike makes of a collection of images. This makes one: ", h("code.command", {}, "lookalike index PHOTOS JOB")], again));
  }
  drawBar();
}

async function readJobs() {
  problem = null;
  const found = [];
  try {
    for (let cursor = null; ; ) {
      const told = await get(`/v1/jobs?limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
      found.push(...told.jobs.map((one) => one.id));
      cursor = told.next;
      if (!cursor) break;
    }
  } catch (error) {
    problem = error;
    if (error.status === 401) askKey(hasKey() ? "The server does not know the key of this tab." : KEY_WANTED);
  }
  jobs = found;
}

function drawBar() {
  const { job, name } = place();
  const choose =
    jobs.length > 1 &&
    h(
      "select",
      { "aria-label": "Job", onchange: ({ target }) => page.go(target.value, name, new URLSearchParams()) },
      !job && h("option", { selected: true, disabled: true }, "Choose a job"),
      jobs.map((one) => h("option", { value: one, selected: one === job }, one)),
    );
  put(
    bar,
    h("a.brand", { href: "#/" }, "lookalike"),
    choose || (job && h("span.job", {}, job)),
    job &&
      h("nav", { "aria-label": "Views" }, Object.entries(VIEWS).map(([view, words]) =>
        h("a", { href: page.href(job, view), "aria-current": view === name ? "page" : null }, words))),
    h("span.grow"),
    hasKey() && h("button.quiet", { type: "button", onclick: () => (setKey(null), location.reload()) }, "Forget the key"),
    h("a.quiet-link", { href: "/docs" }, "API"),
    h("button.quiet.help", { type: "button", "aria-label": "Keys", title: "Keys (?)", onclick: help }, "?"),
  );
}

function help() {
  if (document.querySelector("dialog[open]")) return;
  dialog("Keys", h("dl.keys", {}, KEYS.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)])));
}

// Ask for a key and keep it, for as long as this tab is open, once the server takes it.
function askKey(why = KEY_WANTED) {
  if (document.querySelector("dialog[open]")) return;
  const told = h("p", { id: "key-told", role: "alert" });
  const field = h("input", { id: "key", type: "password", autocomplete: "off", required: true, "aria-describedby": "key-told" });
  const form = h("form.stack", { onsubmit: (event) => (event.preventDefault(), void use(field.value.trim())) },
    h("p", {}, why), h("label", { for: "key" }, "Key"), field, h("p.quiet-text", {}, "It stays in this tab, and goes when the tab is closed."), told, h("button.main", {}, "Use this key"));
  dialog("A key is needed", form);
  field.focus();

  async function use(key) {
    put(told);
    try {
      if (await isKnown(key)) return void (setKey(key), location.reload());
      put(told, "The server has no such key, so it was not kept.");
      field.setAttribute("aria-invalid", "true");
    } catch (error) {
      put(told, error.message);
    }
    field.select();
  }
}

document.addEventListener("keydown", (event) => {
  if (event.key === "?" && !isTyping(event)) help();
  const arrows = ["ArrowDown", "ArrowRight"];
  if (arrows.includes(event.key) && !isTyping(event) && document.activeElement === document.body) {
    event.preventDefault();
    shown?.view?.focus?.();
  }
});
document.addEventListener("paste", (event) => {
  if (!isTyping(event) && event.clipboardData && shown?.view?.pasted?.(event.clipboardData)) event.preventDefault();
});
for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dragging", Boolean(shown?.view?.dropped));
  });
}
document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  shown?.view?.dropped?.(event.dataTransfer);
});
// A link to another view of the same search keeps the upload, which no address has.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#/"]');
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState({ upload: history.state?.upload, url: history.state?.url }, "", link.getAttribute("href"));
  void show();
});
// Its address would be that of another view.
document.querySelector(".skip").addEventListener("click", (event) => (event.preventDefault(), main.focus()));
addEventListener("popstate", () => void show());

// A view that the address names waits for no list of the jobs, which is for the bar alone then.
async function start() {
  const reading = readJobs();
  if (place().job) await show();
  await reading;
  if (place().job && shown) drawBar();
  else await show();
}
void start();
