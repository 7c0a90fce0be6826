"""Write groups of duplicates as one HTML page: thumbnails, verdicts and what proves them, in a file of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from coordinator.display.pages.groups import facts_of, why_of
from coordinator.display.pages.report_style import PAGE, STYLE
from coordinator.jobs.runs.duplicates.found import Found, Group, Member
from shared.images.paths import printable, shown_path
from shared.storage.files import write_bytes

MOST_GROUPS: Final = 200
MOST_IMAGES: Final = 8
"""How many groups are on the page, the largest, and how many images of each: a browser opens a page of 20 MB."""
LONGEST: Final = 240
"""Pixels of the longer side of a thumbnail."""
# A region that leaves less than this of an image out is not drawn.
_WHOLE: Final = 0.975


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small JPEG, in base64, of `width` x `height` pixels."""

    jpeg: str
    width: int
    height: int


def shown_ids(found: Found) -> list[int]:
    """The ids of the images that are on the page."""
    return [member.id for group in found.groups[:MOST_GROUPS] for member in group.members[:MOST_IMAGES]]


def write_report(path: Path, found: Found, thumbnails: Mapping[int, Thumbnail]) -> None:
    """Write the page; it holds its images and loads nothing else. Raises OSError as the file system gives it.

    What is left out of it is said on it. An image without a thumbnail has its path in its place.
    """
    notes = [*found.notes, *_left_out(found, thumbnails)]
    lines = "".join(f"<li>{_text(note)}</li>" for note in notes)
    figures = {
        "groups": f"{len(found.groups):,}",
        "images in them beside those to keep": f"{found.others:,}",
        "images looked at": f"{found.images:,}",
        "kind": found.kind if found.similarity is None else f"{found.kind}, from {found.similarity:g}",
    }
    page = PAGE.format(
        style=STYLE,
        job=_text(found.job),
        figures="".join(f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in figures.items()),
        notes=f"<ul class='notes'>{lines}</ul>" if lines else "",
        body="\n".join(_groups(found, thumbnails)) or "<p class='none'>No two images show the same.</p>",
    )
    write_bytes(path, page.encode())


def _left_out(found: Found, thumbnails: Mapping[int, Thumbnail]) -> Iterator[str]:
    groups = len(found.groups) - MOST_GROUPS
    if groups > 0:
        yield f"This page shows the largest {MOST_GROUPS:,} groups; {groups:,} more are in the JSON and in the table."
    cut = [len(group.members) - MOST_IMAGES for group in found.groups[:MOST_GROUPS]]
    if images := sum(more for more in cut if more > 0):
        yield f"Of large groups it shows {MOST_IMAGES} images each; {images:,} more are in the JSON and in the table."
    if without := sum(one not in thumbnails for one in shown_ids(found)):
        yield f"{without:,} of the images on it could not be read, and have no thumbnail."


def _groups(found: Found, thumbnails: Mapping[int, Thumbnail]) -> Iterator[str]:
    for number, group in enumerate(found.groups[:MOST_GROUPS], start=1):
        members = group.members[:MOST_IMAGES]
        more = len(group.members) - len(members)
        beside = "".join(
            f"<li>{_text(shown_path(one.image_path))} (id {one.id}) shows what {one.member} shows, and not what the "
            "one to keep shows.</li>"
            for one in group.beside
        )
        yield (
            f"<section><h2>Group {number:,} <span>{len(group.members):,} images</span></h2><div class='images'>"
            + "\n".join(_figure(member, group, thumbnails.get(member.id)) for member in members)
            + (f"<p class='more'>and {more:,} more</p>" if more else "")
            + f"</div>{f'<ul class=beside>{beside}</ul>' if beside else ''}</section>"
        )


def _figure(member: Member, group: Group, thumbnail: Thumbnail | None) -> str:
    kept = member is group.kept
    path = shown_path(member.image_path)
    folder, _, name = path.rpartition("/")
    facts = " · ".join([f"id {member.id}", *facts_of(member)])
    verdict = "keep" if kept else member.verdict or ""
    return (
        f"<figure class='{'kept' if kept else 'other'}'>"
        f"<div class='well'>{_picture(member, thumbnail, path)}</div><figcaption>"
        f"<b class='verdict {verdict.replace(' ', '-')}'>{_text(verdict)}</b>"
        f"<span class='why'>{_text(group.reason if kept else why_of(member))}</span>"
        f"<span class='name' title='{_text(path)}'>{_text(name)}</span>"
        f"<span class='folder'>{_text(folder)}</span><span class='facts'>{_text(facts)}</span>"
        "</figcaption></figure>"
    )


def _picture(member: Member, thumbnail: Thumbnail | None, path: str) -> str:
    if thumbnail is None:
        return "<p class='lost'>no thumbnail</p>"
    image = (
        f"<img src='data:image/jpeg;base64,{thumbnail.jpeg}' width='{thumbnail.width}' height='{thumbnail.height}' "
        f"alt='{_text(path)}' loading='lazy' decoding='async'>"
    )
    return f"<div class='picture'>{image}{_region(member, thumbnail)}</div>"


def _region(member: Member, thumbnail: Thumbnail) -> str:
    """The outline of the part that the kept image shows as well, if it is not the whole."""
    if member.evidence is None or member.evidence.query_overlap >= _WHOLE or not member.width or not member.height:
        return ""
    longest = max(thumbnail.width, thumbnail.height)
    scale = longest / max(member.width, member.height)
    points = " ".join(f"{x * scale:.1f},{y * scale:.1f}" for x, y in member.evidence.query_quad)
    return (
        f"<svg viewBox='0 0 {thumbnail.width} {thumbnail.height}' aria-hidden='true'><polygon points='{points}'/></svg>"
    )


def _text(value: str) -> str:
    return escape(printable(value), quote=True)
