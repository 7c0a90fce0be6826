// Ask the server, with a key where it wants one, and read what it says of errors.

const KEY = "lookalike-key";

export class Problem extends Error {
  constructor(table, status, wait) {
    super(table.detail ?? `The server answered ${status}.`);
    Object.assign(this, { status, wait, kind: table.kind, imageStatus: table.image_status, remedy: table.remedy });
  }
}

// The server can't be reached at all, which is no answer of it.
export class Away extends Error {
  constructor() {
    super("The server does not answer. It may have ended, or the connection to it.");
  }
}

export const hasKey = () => Boolean(sessionStorage.getItem(KEY));
export const setKey = (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY));
export const jobPath = (job) => `/v1/jobs/${encodeURIComponent(job)}`;
export const imagePath = (job, id) => `${jobPath(job)}/images/${id}`;

function withKey(headers = {}) {
  return hasKey() ? { ...headers, Authorization: `Bearer ${sessionStorage.getItem(KEY)}` } : headers;
}

// Whether the server takes a key, before it is kept. Keys are printable ASCII; nothing else can be sent.
export async function isKnown(key) {
  if (!/^[!-~]+$/.test(key)) return false;
  const answer = await fetch("/v1/jobs?limit=1", { headers: { Authorization: `Bearer ${key}` } }).catch(() => {
    throw new Away();
  });
  return answer.status !== 401;
}

async function answered(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: withKey(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Away();
  }
  if (answer.ok) return answer;
  const table = await answer.json().catch(() => ({}));
  throw new Problem(table, answer.status, Number(answer.headers.get("Retry-After")) || 0);
}

export async function get(path, signal) {
  return (await answered(path, { signal })).json();
}

export async function post(path, table, signal) {
  const headers = { "Content-Type": "application/json" };
  return (await answered(path, { method: "POST", headers, body: JSON.stringify(table), signal })).json();
}

export async function postForm(path, fields, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value != null && value !== "") form.append(name, value);
  return (await answered(path, { method: "POST", body: form, signal })).json();
}

export async function blobOf(path) {
  return (await answered(path, {})).blob();
}

// The events of a path, each {name, data}. EventSource sends no key, so the stream is read here.
export async function* events(path, signal) {
  const answer = await answered(path, { signal, headers: { Accept: "text/event-stream" } });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Away();
    });
    if (done) return;
    const blocks = (left + value.replaceAll("\r", "")).split("\n\n");
    left = blocks.pop();
    for (const block of blocks) {
      const event = { name: "message", data: "" };
      for (const line of block.split("\n")) {
        if (line.startsWith("event:")) event.name = line.slice(6).trim();
        if (line.startsWith("data:")) event.data += line.slice(5).trim();
      }
      if (event.data) yield { name: event.name, data: JSON.parse(event.data) };
    }
  }
}

// Load an image into an <img>. An element sends no key: where one is needed, the bytes are fetched.
export function loadInto(image, path) {
  if (!hasKey() || path.startsWith("blob:") || path.startsWith("data:")) {
    image.src = path;
    return;
  }
  const load = async () => {
    try {
      const url = URL.createObjectURL(await blobOf(path));
      image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
      image.src = url;
    } catch {
      image.dispatchEvent(new Event("error"));
    }
  };
  if (image.loading !== "lazy") return void load();
  const watcher = new IntersectionObserver((seen) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    watcher.disconnect();
    load();
  }, { rootMargin: "300px" });
  watcher.observe(image);
}

// Where the images of a job come from, as the parts of the page take it. `seen` learns the version from links of the
// server: with it in the address, the browser keeps what it has.
export function imagesOf(job) {
  let version = "";
  const sized = (id, width) => `${imagePath(job, id)}/thumbnail?w=${width}${version && `&${version}`}`;
  const file = (id) => `${imagePath(job, id)}/file${version && `?${version}`}`;
  return {
    tile: (id) => sized(id, devicePixelRatio > 1.3 ? 512 : 256),
    large: (id) => sized(id, 1024),
    file,
    open: hasKey() ? async (id) => open(URL.createObjectURL(await blobOf(file(id)))) : null,
    facts: (id) => get(imagePath(job, id)),
    load: loadInto,
    seen: (link) => (version = link?.split("?")[1]?.match(/v=[^&]+/)?.[0] ?? version),
  };
}
