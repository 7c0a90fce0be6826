// What a job is, how far it is, what failed, and what its index was measured to do.

import { Away, events, get, jobPath } from "../lib/api.js";
import { h, put, svg } from "../lib/dom.js";
import { bytes, count, duration, many, parts, percent } from "../lib/words.js";
import { problemNote } from "../parts/states.js";

const AGAIN_SECONDS = 3;

export function jobView(page, job) {
  const path = jobPath(job);
  const progress = h("section.card", { "aria-label": "Progress" });
  const failed = h("section.card", { "aria-label": "Failed images" });
  const index = h("section.card", { "aria-label": "Index" });
  const note = h("p.note", { role: "status", hidden: true });
  const root = h("div.job-view", {}, h("h1", {}, job), note, progress, index, failed);
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

  function drawIndex({ index: info, model }) {
    if (!info) {
      return void put(index, h("h2", {}, "No index yet"), h("p", {}, "It is built when the images are embedded. Until then a search compares with all that are."));
    }
    const altered = Object.entries(info.accuracy_at_10);
    put(
      index,
      h("h2", {}, `Index: ${info.type}`),
      figures([
        ["images in it", count(info.ntotal)],
        ["recall@10", info.recall_at_10 == null ? "not measured" : info.recall_at_10.toFixed(3)],
        ["a query, median", `${info.p50_ms.toFixed(1)} ms`], ["99 of 100 under", `${info.p99_ms.toFixed(1)} ms`],
        ["size", bytes(info.bytes)], ["built in", duration(info.seconds)],
      ]),
      h("p.quiet-text", {}, `Build ${info.build}, ${new Date(info.built_at * 1000).toLocaleString()}, of ${model} embeddings. ${info.recall_queries ? `Measured with ${many(info.recall_queries, "query", "queries")} when it was built.` : ""}`),
      info.sweep.filter((point) => point.recall_at_10 != null).length > 1 && sweep(info),
      altered.length > 0 &&
        h("table", {},
          h("caption", {}, `Altered copies that find their original among the first ten hits (${many(info.accuracy_copies, "copy", "copies")} of each kind)`),
          h("tbody", {}, altered.map(([name, share]) => h("tr", {}, h("th", { scope: "row" }, name), h("td.number", {}, percent(share)))))),
    );
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

function figures(pairs) {
  return h("dl.figures", {}, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
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

// Recall against milliseconds at several widths, as they were measured when the index was built.
function sweep(info) {
  const points = info.sweep.filter((point) => point.recall_at_10 != null).sort((one, other) => one.p50_ms - other.p50_ms);
  const [width, height, left, bottom] = [520, 200, 52, 34];
  const most = Math.max(...points.map((point) => point.p50_ms)) * 1.08;
  const least = Math.min(...points.map((point) => point.recall_at_10));
  const low = Math.max(0, Math.floor(least * 20 - 0.5) / 20);
  const x = (ms) => left + (ms / most) * (width - left - 12);
  const y = (recall) => 10 + (1 - (recall - low) / (1 - low || 1)) * (height - bottom - 10);
  const serves = points.find((point) => point.nprobe === info.nprobe && point.depth === info.rerank_depth);
  const text = (content, at) => svg("text", at, content);
  const said = points.map((point) => `${point.p50_ms.toFixed(1)} ms: ${point.recall_at_10.toFixed(3)}`).join("; ");
  return h(
    "figure.sweep",
    {},
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `recall@10 by milliseconds of a query: ${said}` },
      svg("path.axis", { d: `M${left} 10V${height - bottom}H${width - 12}` }),
      [low, (low + 1) / 2, 1].map((recall) => text(recall.toFixed(recall === 1 ? 1 : 2), { x: left - 8, y: y(recall) + 4, "text-anchor": "end" })),
      [0, most / 2.16, most / 1.08].map((ms) => text(`${ms.toFixed(1)} ms`, { x: x(ms), y: height - bottom + 18, "text-anchor": "middle" })),
      svg("polyline.line", { points: points.map((point) => `${x(point.p50_ms)},${y(point.recall_at_10)}`).join(" ") }),
      points.map((point) => svg(point === serves ? "circle.point.serves" : "circle.point", { cx: x(point.p50_ms), cy: y(point.recall_at_10), r: point === serves ? 6 : 3.5 }, svg("title", {}, `${point.p50_ms.toFixed(1)} ms, recall ${point.recall_at_10.toFixed(3)}`))),
    ),
    h("figcaption", {}, `recall@10 against the median of a query, at several widths${serves ? "; the large dot is the one that serves" : ""}`),
  );
}
