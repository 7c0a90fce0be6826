"""Write queries and their hits as one HTML page that any browser opens from disk."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from coordinator.display.pages.sheet_style import PAGE, STYLE
from shared.errors import UsageError
from shared.messages.verdicts import Quad
from shared.storage.files import write_bytes


@dataclass(frozen=True, slots=True)
class Part:
    """The part of an image that a query shows: its corners in pixels of the image, which is so wide and high."""

    corners: Quad
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SheetHit:
    """One hit: `path` of its image, cosine `similarity` (-1 to 1), `rank` from 1, and whether it is the right one.

    `verdict` is what is known of it, "" for nothing, `why` what proves that where it `is_proven`, and `part` what of it
    the query shows, where that is not the whole.
    """

    path: Path
    similarity: float
    rank: int
    is_original: bool
    verdict: str = ""
    why: str = ""
    part: Part | None = None
    is_proven: bool = False


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One query: `query` is the path of its image, `label` says how it was altered, `hits` come best first.

    `answer` is what came out, if it is not to be where the original was found; `state` is how good that is: "first",
    "found" or "missed".
    """

    query: Path
    label: str
    hits: tuple[SheetHit, ...]
    answer: str = ""
    state: str = "first"


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
    page = PAGE.format(title=_text(title), style=STYLE, figures=figures and f"<dl>{figures}</dl>", body=body)
    write_bytes(path, page.encode())
    return path


def _row(row: SheetRow, folder: Path) -> str:
    hits = "\n".join(_hit(hit, folder) for hit in row.hits) or '<li class="none">No hits.</li>'
    answer, state = (row.answer, row.state) if row.answer else _found(row.hits)
    return f"""<section>
<figure class="query">
<h2>{_text(row.label)}</h2>
{_image(row.query, f"Query, {row.label}: {row.query.name}", folder)}
<figcaption><span class="name">{_text(row.query.name)}</span>
<span class="answer {state}">{_said(answer)}</span></figcaption>
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
    said = ""
    if hit.verdict:
        told += f"; {hit.verdict}"
        proven = " proven" if hit.is_proven else ""
        said = f'<span class="verdict{proven}">{_said(hit.verdict)}</span>'
        said += f'<span class="why">{_said(hit.why)}</span>' if hit.why else ""
    return (
        f"{opening}<figure>{_image(hit.path, told, folder, _outline(hit.part) + mark)}"
        f'<figcaption><b>{hit.rank}</b> <span class="similarity">{hit.similarity:.3f}</span>'
        f'{said}<span class="name">{_text(hit.path.name)}</span></figcaption></figure></li>'
    )


def _outline(part: Part | None) -> str:
    if part is None:
        return ""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in part.corners)
    return f'<svg viewBox="0 0 {part.width} {part.height}" aria-hidden="true"><polygon points="{points}"/></svg>'


def _found(hits: Sequence[SheetHit]) -> tuple[str, str]:
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


def _said(value: str) -> str:
    return _text(value).replace(" %", "\N{NO-BREAK SPACE}%")
