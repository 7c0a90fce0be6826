// What a job is, how far it is, what failed, and what its index was measured to do.

import { Away, events, get, jobPath } from "../lib/api.js";
import { h, put } from "../lib/dom.js";
import { count, duration, parts, percent } from "../lib/words.js";
import { copiesFacts, figures, indexFacts } from "../parts/measured.js";
import { problemNote } from "../parts/states.js";

const AGAIN_SECONDS = 3;

export function jobView(page, job) {
  const path = jobPath(job);
  const progress = h("section.card", { "aria-label": "Progress" });
  const failed = h("section.card", { "aria-label": "Failed images" });
  const index = h("section.card", { "aria-label": "Index" });
  const copies = h("section.card", { "aria-label": "Altered copies", hidden: true });
  const note = h("p.note", { role: "status", hidden: true });
  const root = h("div.job-view", {}, h("h1", {}, job), note, h("div.column", {}, progress, copies, failed), h("div.column", {}, index));
  const stopped = new AbortController();
  let build;
  let embedded;
  let isFollowed = false;

  function update() {
    if (isFollowed) return;
    isFollowed = true;
    void follow();
  }

  // The server says how far the job is as that changes. Where it goes away, it is asked again until it is back.
  async function follow() {
    while (!stopped.signal.aborted) {
      try {
        for await (const event of events(`${path}/events`, stopped.signal)) {
          if (event.name === "problem") tell(event.data.detail);
          else if (event.data.listed != null) drawProgress({ broker: (await get(`${path}/status`, stopped.signal)).broker, ...event.data });
        }
      } catch (error) {
        if (error.name === "AbortError") return;
        const again = h("button.main", { type: "button", onclick: () => location.reload() }, "Try again");
        if (error.status !== 404 && !(error instanceof Away)) return void put(root, problemNote(error, { job, page, again }));
        if (error instanceof Away) tell(`${error.message} The figures below are the last that it said.`);
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN_SECONDS * 1000));
    }
  }

  function tell(text) {
    note.hidden = !text;
    note.textContent = text;
  }

  function drawProgress(status) {
    tell(status.refused ?? "");
    const { listed, failed: lost, pending, removed, purged } = status;
    const held = Math.max(listed - (purged ?? 0), 1);
    const share = (number) => `${(100 * number) / held}%`;
    const done = h("span.done"), bad = h("span.bad");
    done.style.width = share(status.embedded);
    bad.style.width = share(lost);
    put(
      progress,
      h("h2", {}, pending ? `Embedding: ${percent((status.embedded + lost) / held)} done` : "All images are done"),
      h("div.bar", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": held, "aria-valuenow": status.embedded + lost, "aria-label": "Images that are done" }, done, bad),
      figures([
        ["images", count(listed)], ["embedded", count(status.embedded)], ["failed", count(lost)],
        pending && ["pending", count(pending)], removed && ["removed", count(removed)],
        pending && status.images_per_second && ["images a second", count(status.images_per_second)],
        pending && status.eta_seconds != null && ["time left", duration(status.eta_seconds)],
      ]),
      status.filling && h("p.quiet-text", {}, status.filling),
      workers(status.broker),
      h("p.quiet-text", {}, `Sources: ${(status.sources ?? []).map((source) => source.location).join(", ") || "none"}`),
    );
    if (status.index?.build !== build || status.embedded + lost !== embedded || embedded === undefined) {
      const isFirst = embedded === undefined;
      const isNewBuild = status.index?.build !== build;
      [build, embedded] = [status.index?.build, status.embedded + lost];
      if (isFirst || isNewBuild || !pending) void describe();
    }
  }

  async function describe() {
    try {
      const told = await get(path, stopped.signal);
      drawIndex(told);
      drawFailed(told.failed);
    } catch (error) {
      if (error.name !== "AbortError") put(index, h("p.note", {}, error.message));
    }
  }

  function drawIndex(told) {
    copies.hidden = !told.index;
    if (!told.index) {
      return void put(index, h("h2", {}, "No index yet"), h("p", {}, "It is built when the images are embedded. Until then a search compares with all that are."), told.fusion && h("p.quiet-text", {}, `${told.fusion}.`));
    }
    put(index, indexFacts(told, job));
    put(copies, copiesFacts(told));
  }

  function drawFailed(rows) {
    failed.hidden = rows.length === 0;
    put(
      failed,
      h("h2", {}, "Failed images by reason"),
      h("table.failed", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "reason"), h("th", { scope: "col" }, "images"), h("th", { scope: "col" }, "one of them"))),
        h("tbody", {}, rows.map(({ status, images, example }) =>
          h("tr", {}, h("th", { scope: "row" }, status), h("td.number", {}, count(images)), h("td", {}, h("span.name", { title: example.image_path }, parts(example.image_path).name), h("br"), h("span.quiet-text", {}, example.reason)))))),
    );
  }

  return { element: root, update, close: () => stopped.abort(), title: () => `${job}: how far it is` };
}

function workers(broker) {
  if (!broker) return null;
  const { error, holders = [], troubles = [] } = broker;
  return [
    error && h("p.quiet-text", {}, error),
    holders.length > 0 && h("ul", {}, holders.map(({ worker, what }) => h("li.quiet-text", {}, `${worker}: ${what}`))),
    troubles.map(({ worker, sentence }) => h("p.note", {}, `${worker}: ${sentence}`)),
  ];
}
