"""The frame and the style of the report of duplicates, for light and dark screens, wide and narrow ones, and paper."""

from typing import Final

PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Duplicates in {job}</title>
<style>{style}</style>
</head>
<body>
<header>
<p class="job">{job}</p>
<h1>Duplicates</h1>
<dl>{figures}</dl>
<p class="lead">Each group begins with the image that is suggested to be kept. The others say what they have in common
with that one; an outline marks the part of an image that the kept one shows too. Nothing was deleted.</p>
{notes}
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
  --page: #f5f5f2; --card: #fff; --ink: #1c1e20; --quiet: #62676c; --line: #e1e1dc; --well: #edede9;
  --keep: #0a7d4b; --keep-ink: #fff; --bytes: #1f5fbf; --pixels: #4651c9; --picture: #7a3fb5; --similar: #8a5a00;
  --soft: 12%;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121415; --card: #1b1e20; --ink: #e8e9ea; --quiet: #9aa1a7; --line: #2c3033; --well: #24282a;
    --keep: #3ecf8e; --keep-ink: #06291a; --bytes: #7fb0ff; --pixels: #a5adff; --picture: #d0a2ff; --similar: #e5b454;
    --soft: 20%;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 84rem; padding: clamp(1rem, 3vw, 2.5rem);
  background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
.job { margin: 0; color: var(--quiet); font-size: .875rem; overflow-wrap: anywhere; }
h1 { margin: 0 0 1rem; font-size: 1.75rem; line-height: 1.2; letter-spacing: -.01em; }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 0 0 1rem; }
dt { color: var(--quiet); font-size: .8125rem; }
dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.lead, .notes { max-width: 44rem; color: var(--quiet); }
.notes { padding-left: 1.1rem; }
section {
  margin: 1.5rem 0; padding: 1rem 1.25rem 1.25rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem;
}
h2 { margin: 0 0 .75rem; font-size: 1rem; }
h2 span { color: var(--quiet); font-weight: 400; margin-left: .5rem; }
.images { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 1.25rem 1rem; }
figure { margin: 0; min-width: 0; }
.well {
  display: flex; align-items: center; justify-content: center; height: 15.5rem; padding: .25rem;
  background: var(--well); border-radius: .5rem;
}
.kept .well { box-shadow: inset 0 0 0 2px var(--keep); }
.picture { position: relative; display: flex; max-width: 100%; max-height: 100%; }
img { display: block; max-width: 100%; max-height: 15rem; width: auto; height: auto; border-radius: .25rem; }
svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
polygon {
  fill: none; stroke: #ff3b8d; stroke-width: 2; stroke-linejoin: round; vector-effect: non-scaling-stroke;
  filter: drop-shadow(0 0 1px #000a);
}
.lost { margin: 0; color: var(--quiet); font-size: .8125rem; }
figcaption { display: grid; gap: .1rem; margin-top: .5rem; font-size: .8125rem; }
figcaption span { overflow-wrap: anywhere; }
.verdict {
  --tone: var(--quiet); justify-self: start; margin-bottom: .15rem; padding: .05rem .5rem; border-radius: 1rem;
  color: var(--tone); background: color-mix(in srgb, var(--tone) var(--soft), transparent); font-weight: 600;
}
.keep { color: var(--keep-ink); background: var(--keep); }
.same-bytes { --tone: var(--bytes); } .same-pixels { --tone: var(--pixels); }
.same-picture { --tone: var(--picture); } .similar { --tone: var(--similar); }
.name { font-weight: 600; }
.folder, .facts { color: var(--quiet); }
.facts { font-variant-numeric: tabular-nums; }
.more, .none { align-self: center; color: var(--quiet); }
.beside { margin: .75rem 0 0; padding-left: 1.1rem; color: var(--quiet); font-size: .8125rem; }
@media print { body { max-width: none; } section { break-inside: avoid; } }
"""
