"""The frame and the style of a contact sheet, for light and dark screens, wide and narrow ones, and paper."""

from typing import Final

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
{figures}
<p>Each row shows a query, and the hits that the search gave for it, best first. A query is an altered copy of a photo
in the index, named by its alteration, and that photo, the right answer, is <span class="key">outlined</span>. Below a
hit stands what is known of it: <strong>same pixels</strong> and <strong>same picture</strong> are proven by
comparison, and a dashed line marks the part that both show. Of a similar one nothing was proven; those without a word
were too far for doubt. The last queries show nothing that is in the index.</p>
</header>
<main>
{body}
</main>
</body>
</html>
"""

STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #f6f6f4; --card: #fff; --ink: #1d1f21; --quiet: #63676b; --line: #e2e2de; --well: #ecece8;
  --right: #0a7d4b; --right-ink: #fff; --late: #8a5a00; --wrong: #b3261e;
  --part: #d6006e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131516; --card: #1c1f21; --ink: #e8e9ea; --quiet: #9ba1a6; --line: #2d3135; --well: #26292c;
    --right: #3ecf8e; --right-ink: #06291a; --late: #e5b454; --wrong: #ff8a80;
    --part: #ff5fae;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 96rem; padding: clamp(1rem, 3vw, 2.5rem);
  background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
h1 { margin: 0; font-size: clamp(1.5rem, 1.1rem + 1.8vw, 2.25rem); line-height: 1.15; letter-spacing: -.02em; }
header p { max-width: 72ch; margin: 1.25rem 0 0; color: var(--quiet); font-size: .9375rem; }
.key { margin: 0 .2em; padding: 0 .3em; border-radius: .2em; outline: 2px solid var(--right); color: var(--ink); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.25rem 0 0; }
dl div {
  display: flex; flex-direction: column-reverse; justify-content: flex-end; padding: .7rem 1rem;
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
}
dt { color: var(--quiet); font-size: .8125rem; }
dd { margin: 0; font-size: 1.375rem; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
section {
  display: grid; grid-template-columns: 11rem minmax(0, 1fr); gap: 1.25rem; margin-top: 1.25rem; padding: 1.1rem;
  background: var(--card); border: 1px solid var(--line); border-radius: .9rem;
}
h2 { margin: 0 0 .6rem; font-size: 1.0625rem; line-height: 1.4rem; }
figure { margin: 0; }
a { display: block; position: relative; border-radius: .4rem; text-decoration: none; }
img {
  display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
  background: var(--well); border-radius: .4rem;
}
.query { padding-right: 1.25rem; border-right: 1px solid var(--line); }
ol {
  display: grid; grid-template-columns: repeat(10, minmax(0, 1fr)); gap: 1.1rem .8rem;
  align-content: start; margin: 0; padding: 2rem 0 0; list-style: none;
}
figcaption { margin-top: .5rem; font-size: .8125rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
.similarity { float: right; }
.name { display: block; color: var(--quiet); font-size: .6875rem; overflow-wrap: anywhere; }
.query .name { font-size: .75rem; }
.original a { outline: 3px solid var(--right); outline-offset: 2px; }
.mark {
  position: absolute; inset: auto 0 0; padding: .1rem 0; border-radius: 0 0 .4rem .4rem; text-align: center;
  background: var(--right); color: var(--right-ink); font-size: .6875rem; font-weight: 600; line-height: 1.35;
}
svg { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }
polygon {
  fill: none; stroke: var(--part); stroke-width: 2px; stroke-dasharray: 5 3; vector-effect: non-scaling-stroke;
}
.verdict { display: block; clear: both; margin-top: .15rem; color: var(--quiet); }
.proven { color: var(--right); font-weight: 600; }
.why { display: block; color: var(--quiet); font-size: .75rem; }
.answer { display: block; margin-top: .3rem; font-weight: 600; }
.first { color: var(--right); } .found { color: var(--late); } .missed { color: var(--wrong); }
.none { grid-column: 1 / -1; color: var(--quiet); }
a:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px; }
@media (max-width: 76rem) { ol { grid-template-columns: repeat(5, minmax(0, 1fr)); } }
@media (max-width: 46rem) {
  section { grid-template-columns: minmax(0, 1fr); gap: 1rem; padding: .9rem; }
  .query {
    display: grid; grid-template-columns: 6.5rem minmax(0, 1fr); grid-template-rows: auto 1fr; column-gap: 1rem;
    padding: 0 0 1rem; border-right: 0; border-bottom: 1px solid var(--line);
  }
  .query a { grid-row: 1 / 3; }
  .query h2 { grid-column: 2; grid-row: 1; margin: 0; }
  .query figcaption { grid-column: 2; margin-top: .15rem; }
  ol { gap: .9rem .6rem; padding-top: 0; }
  dl { grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem; }
}
@media print { section { break-inside: avoid; } }
"""
