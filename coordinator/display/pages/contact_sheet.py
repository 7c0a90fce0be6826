"""Write queries and their hits as one HTML page that any browser opens from disk."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from shared.errors import UsageError
from shared.storage.files import write_bytes


@dataclass(frozen=True, slots=True)
class SheetHit:
    """One hit: `path` of its image, cosine `similarity` (-1 to 1), `rank` from 1, and whether it is the right one."""

    path: Path
    similarity: float
    rank: int
    is_original: bool


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One query: `query` is the path of its image, `label` says how it was altered, `hits` come best first."""

    query: Path
    label: str
    hits: tuple[SheetHit, ...]


def write_contact_sheet(path: Path, title: str, rows: Sequence[SheetRow], summary: Sequence[tuple[str, str]]) -> Path:
    """Write the page `path` with a row for each query, under the figures of `summary` (name, value), and return it.

    Images are referenced by addresses relative to the page's folder, so the page stays small, and moves together with
    them. It holds no script and loads nothing else. Raises UsageError if there is no row, and OSError as the file
    system gives it.
    """
    if not rows:
        raise UsageError(f"The contact sheet {path} was asked for without a single query; search for at least one.")
    folder = path.parent
    figures = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in summary)
    body = "\n".join(_row(row, folder) for row in rows)
    page = _PAGE.format(title=_text(title), style=_STYLE, figures=figures and f"<dl>{figures}</dl>", body=body)
    write_bytes(path, page.encode())
    return path


def _row(row: SheetRow, folder: Path) -> str:
    hits = "\n".join(_hit(hit, folder) for hit in row.hits) or '<li class="none">No hits.</li>'
    verdict, state = _verdict(row.hits)
    return f"""<section>
<figure class="query">
<h2>{_text(row.label)}</h2>
{_image(row.query, f"Query, {row.label}: {row.query.name}", folder)}
<figcaption><span class="name">{_text(row.query.name)}</span>
<span class="verdict {state}">{verdict}</span></figcaption>
</figure>
<ol>
{hits}
</ol>
</section>"""


def _hit(hit: SheetHit, folder: Path) -> str:
    told = f"Hit {hit.rank}, similarity {hit.similarity:.3f}: {hit.path.name}"
    opening, mark = "<li>", ""
    if hit.is_original:
        told += ", the original"
        opening, mark = '<li class="original">', '<span class="mark">original</span>'
    return (
        f"{opening}<figure>{_image(hit.path, told, folder, mark)}"
        f'<figcaption><b>{hit.rank}</b> <span class="similarity">{hit.similarity:.3f}</span>'
        f'<span class="name">{_text(hit.path.name)}</span></figcaption></figure></li>'
    )


def _verdict(hits: Sequence[SheetHit]) -> tuple[str, str]:
    rank = next((hit.rank for hit in hits if hit.is_original), None)
    if rank is None:
        return f"original not among {len(hits)} hits", "missed"
    return ("original found first", "first") if rank == 1 else (f"original found at rank {rank}", "found")


def _image(path: Path, told: str, folder: Path, mark: str = "") -> str:
    address = escape(_address(path, folder))
    return f'<a href="{address}"><img src="{address}" alt="{_text(told)}" loading="lazy" decoding="async">{mark}</a>'


def _address(path: Path, folder: Path) -> str:
    # Quoted as the bytes that the file system has, so a name in no valid encoding is reached as well; the colon is
    # quoted too, since "a:b.jpg" would otherwise read as an address of the scheme "a".
    return quote(os.fsencode(os.path.relpath(path, folder).replace(os.sep, "/")), safe="/")


def _text(value: str) -> str:
    return escape(os.fsencode(value).decode(errors="replace"))


_PAGE = """<!doctype html>
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
<p>Each row shows a query on the left, and on the right the hits that the index gave for it, best first, with rank and
cosine similarity. The query is an altered copy of a photo in the index, and its heading names the alteration. That
photo, the right answer, is <span class="key">outlined</span> wherever it is among the hits.</p>
</header>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f6f4; --card: #fff; --ink: #1d1f21; --quiet: #63676b; --line: #e2e2de; --well: #ecece8;
  --right: #0a7d4b; --right-ink: #fff; --late: #8a5a00; --wrong: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131516; --card: #1c1f21; --ink: #e8e9ea; --quiet: #9ba1a6; --line: #2d3135; --well: #26292c;
    --right: #3ecf8e; --right-ink: #06291a; --late: #e5b454; --wrong: #ff8a80;
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
.key { padding: 0 .3em; border-radius: .2em; outline: 2px solid var(--right); color: var(--ink); }
dl { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0 0; }
dl div {
  display: flex; flex-direction: column-reverse; min-width: 8rem; padding: .7rem 1rem;
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
.verdict { display: block; margin-top: .3rem; font-weight: 600; }
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
  dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem; }
}
@media print { section { break-inside: avoid; } }
"""
