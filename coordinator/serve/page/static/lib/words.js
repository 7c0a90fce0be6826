// Numbers, paths and verdicts as people read them.

export const PROVEN = ["same bytes", "same pixels", "same picture"];

const TONES = { "same bytes": "bytes", "same pixels": "pixels", "same picture": "picture", similar: "similar" };

export const count = (number) => number.toLocaleString("en");
export const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;
export const cosine = (number) => number.toFixed(3);
export const percent = (share) => (share > 0 && share < 0.01 ? "under 1 %" : `${Math.floor(share * 100)} %`);

export function bytes(number) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) [number, unit] = [number / 1000, unit + 1];
  return `${unit && number < 10 ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// The name and the folder of a path; of a member, a.tar::b/c.jpg, the folder has the archive.
export function parts(path) {
  const member = path.lastIndexOf("::");
  const cut = Math.max(path.lastIndexOf("/"), member < 0 ? -1 : member + 1);
  return { name: path.slice(cut + 1) || path, folder: path.slice(0, Math.max(cut, 0)).replace(/:$/, "") };
}

export const tone = (verdict) => TONES[verdict] ?? "none";
export const isProven = (hit) => PROVEN.includes(hit.verdict);

// What a verdict rests on, without what stands in it: "cropped (41 %), 132 matching points".
export function why(hit) {
  if (hit.description && hit.description !== "whole") return hit.description;
  if (hit.chance != null) return `${percent(hit.chance)} chance of the same picture`;
  return "";
}

// A hit in one sentence, for those who do not see it.
export function spoken(hit) {
  const judged = hit.verdict ? `${hit.verdict}${why(hit) ? `, ${why(hit)}` : ""}, ` : "";
  return `Hit ${hit.rank}: ${parts(hit.image_path).name}, ${judged}similarity ${cosine(hit.similarity)}`;
}
