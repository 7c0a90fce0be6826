// Where a query and a hit show the same: quadrilaterals, and the transform from pixels of the one to those of the other.

import { svg } from "./dom.js";

const WHOLE = 0.975;

export const through = ([[a, b, c], [d, e, f]], [x, y]) => [a * x + b * y + c, d * x + e * y + f];

export function inverse([[a, b, c], [d, e, f]]) {
  const det = a * e - b * d;
  const [p, q, r, s] = [e / det, -b / det, -d / det, a / det];
  return [[p, q, -(p * c + q * f)], [r, s, -(r * c + s * f)]];
}

// As CSS takes it: a transform between elements that are so many pixels large of what the matrix is in.
export function cssMatrix([[a, b, c], [d, e, f]], fromScale, toScale) {
  const ratio = toScale / fromScale;
  return `matrix(${[a * ratio, d * ratio, b * ratio, e * ratio, c * toScale, f * toScale].join(", ")})`;
}

// The size that coordinates are in. A header says the size before an image is turned upright, the shown one does not.
export function upright(size, shown) {
  if (!size?.width || !size?.height) return null;
  const isTurned = shown && size.width > size.height !== shown.width > shown.height && shown.width !== shown.height;
  return isTurned ? { width: size.height, height: size.width } : { width: size.width, height: size.height };
}

// The region that both show, over an image of `size`; what is outside is dimmed. A dot is on the same corner of both.
export function outline(quad, overlap, { width, height }) {
  const corners = quad.map((point) => point.join(","));
  const side = Math.max(width, height);
  return svg(
    "svg.outline",
    { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    overlap < WHOLE &&
      svg("path.outside", { "fill-rule": "evenodd", d: `M0 0H${width}V${height}H0ZM${corners.join("L")}Z` }),
    svg("polygon", { points: corners.join(" ") }),
    svg("circle", { cx: quad[0][0], cy: quad[0][1], r: side / 70 }),
  );
}
