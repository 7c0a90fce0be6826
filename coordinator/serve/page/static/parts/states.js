// What to say, and to offer, where something is not there or goes wrong.

import { Away, hasKey } from "../lib/api.js";
import { h } from "../lib/dom.js";

export const KEY_WANTED = "This server answers only with a key. Ask the person who runs it for one.";

export function emptyState(title, text, ...offers) {
  return h("div.state", {}, h("h2", {}, title), h("p", {}, text), h("div.row", {}, ...offers));
}

// `again` is a button that tries it again; `isUpload` is whether the image came from the person.
export function problemNote(error, { job, page, again, isUpload = false }) {
  const text = error.message;
  const link = (view, words) => h("a.button.quiet", { href: page.href(job, view) }, words);
  if (error instanceof Away) return emptyState("The server is away", `${text} If you started it, look at its terminal.`, again);
  switch (error.status) {
    case 401:
      return emptyState("A key is needed", KEY_WANTED, h("button.main", { type: "button", onclick: () => page.askKey() }, "Enter a key"));
    case 403:
      return hasKey()
        ? emptyState("This key is not good for that", text, h("button.main", { type: "button", onclick: () => page.askKey() }, "Enter another key"))
        : emptyState("The server refuses this", text);
    case 404:
      return emptyState("It is not here", text, h("a.button.quiet", { href: "#/" }, "All jobs"));
    case 409:
      return emptyState("There is nothing to search yet", text, again, link("job", "How far it is"));
    case 413:
    case 415:
    case 422:
      return isUpload || error.imageStatus
        ? emptyState("This image can't be searched with", text)
        : emptyState("This search can't be answered", text);
    case 429:
      return emptyState("Too many searches wait already", text, again);
    case 503:
    case 504:
      return emptyState("No query worker answers", text, again, link("job", "Who works on the job"));
    default:
      return emptyState("That did not work", text, again);
  }
}
