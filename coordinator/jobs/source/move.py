"""Give a job's source another place, after comparing that place with what was listed."""

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Final

from coordinator.jobs.source.lost.look_for import Found, look_for
from coordinator.jobs.source.lost.renamed import MOST, Lost, found_again
from coordinator.sources.listing import Listing
from coordinator.sources.resolve import open_source
from shared.errors import JobMismatch, SourceError
from shared.errors.remedy import Remedy
from shared.images.paths import is_url, to_os_path, to_text
from shared.job.bundle.facts import refuse_bundle
from shared.job.directory import JobDir
from shared.job.manifest import Source
from shared.job.opened import OpenJob, open_job
from shared.job.source.moved import Moved, read_moved, write_moved

_NAMED: Final = 3
_KINDS: Final = ("folder", "archive", "glob")


def move(source: str, job: JobDir, told: Callable[[int], None]) -> bool:
    """Have a job find the images of a source, a folder, an archive or a glob, in `source`, where they moved to.

    Each file has to be there under the same name below the folder, and to be as large as when it was embedded; an
    archive has to be the one that was listed. Some images are read, and their SHA-256 compared. Below a folder, up to
    10,000 files that have other names now are found by their size and SHA-256. Of several sources, the first of which
    this is true is meant. Ids, path lists and all that is embedded stay as they are. `told` hears how many images were
    looked at. Returns whether this is news to the job. Raises JobNotFound without a job, JobMismatch for a source that
    can't move so, and SourceError, with nothing changed, when a file is missing or another one.
    """
    job = open_job(job)
    refuse_bundle(job.path, job.manifest.bundle, "changed")
    listing = open_source(source)
    before = read_moved(job)
    closest: Found | None = None
    for number in _movable(job, listing, before):
        made = job.sources[number]
        for moved in _ways(job, made, listing.location):
            moved = _beside_others(moved, made, before)
            found = look_for(job, number, moved, before, told)
            if not found.looked_at and len(job.sources) > 1:
                continue  # None of its images is left: it would be found anywhere.
            room = MOST - len(found.renamed_elsewhere)
            if found.lost and made.kind != "archive" and len(found.lost) <= room:
                again = found_again(job, made, moved, found.lost)
                moved = replace(moved, renamed=found.renamed_elsewhere | again)
                found.lost = [one for one in found.lost if one.listed not in again]
            else:
                moved = replace(moved, renamed=found.renamed_elsewhere)
            if not found.lost:
                write_moved(job, moved)
                now = read_moved(job)
                return (sorted(now.places), now.renamed) != (sorted(before.places), before.renamed)
            if closest is None or len(found.lost) < len(closest.lost):
                closest = found
    if closest is None:
        raise SourceError(f"No image of {job.path} is left that could be in {listing.location}: nothing was changed.")
    raise SourceError(
        f"{listing.location} is not what {job.path} was made of: of {closest.looked_at:,} files that the job has from "
        f"there, {_said(closest.lost)}. Nothing was changed. Put them there under the names that they had, or make a "
        "job of what is there now under another name."
    )


def said(job: JobDir, news: bool) -> str:
    """The line that says what `move` found, with what it returned."""
    count = len(read_moved(job).renamed)
    names = f", {count:,} of its files under other names" if count else ""
    return f"{job.path} finds its images there {'now' if news else 'as before'}{names}."


def _movable(job: OpenJob, listing: Listing, before: Moved) -> list[int]:
    """The numbers of the sources that can have moved to `listing`; raises JobMismatch where none can.

    A source that is there is the one that is meant. Those that are away come before those that are where they were.
    """
    if job.manifest.model.is_imported:
        raise JobMismatch(
            f"{job.path} holds vectors that were imported, and none of its images is read",
            remedy=Remedy("option", does="leave {} out", given={"moved": ""}),
        )
    places = {number: before.now(source.location) for number, source in enumerate(job.sources)}
    alike = [
        number
        for number, made in enumerate(job.sources)
        if made.kind == listing.kind and made.kind in _KINDS and not is_url(made.location)
    ]
    if alike and not is_url(listing.location):
        there = [number for number in alike if places[number] == listing.location]
        return there or sorted(alike, key=lambda number: os.path.lexists(to_os_path(places[number])))
    made = job.sources[0]
    if made.kind not in _KINDS or is_url(made.location):
        what = "a list names each of its files" if made.kind in ("list", "stdin") else "a URL is no place on a disk"
        raise JobMismatch(
            f"Only the images of a folder, an archive or a pattern on a disk can move, and {job.path} was made from "
            f"the {made.kind} {made.location}; {what}: make another JOB of where they are now."
        )
    raise JobMismatch(
        f"{job.path} was made from the {made.kind} {made.location}, and {listing.location} is the "
        f"{'URL of a ' if is_url(listing.location) else ''}{listing.kind}: give the {made.kind} on a disk to which "
        "that moved."
    )


def _beside_others(moved: Moved, made: Source, before: Moved) -> Moved:
    """`moved`, a way in which a source `made` can have moved, with how those above other sources moved `before`."""
    roots = {moved.old, made.location, to_text(os.path.dirname(to_os_path(made.location)))}
    more = tuple(place for place in before.places if place[0] not in roots)
    return replace(moved, more=more)


def _ways(job: JobDir, made: Source, location: str) -> list[Moved]:
    """In what ways the source can have moved to `location`, the likelier first."""
    if made.kind == "folder":
        return [Moved(made.location, location)]
    old, new = to_os_path(made.location), to_os_path(location)
    if made.kind == "glob":
        (old, old_rest), (new, new_rest) = _fixed(old), _fixed(new)
        if old_rest != new_rest:
            raise JobMismatch(
                f"{job.path} was made from the pattern {made.location}, and {location} differs from it in more than "
                f"the folder: type that folder and behind it {old_rest}, in quotes."
            )
        return [Moved(to_text(old), to_text(new))]
    ways = [Moved(made.location, location)]
    if os.path.basename(old) == os.path.basename(new):
        # The rows of a Parquet file may name files beside it.
        ways.append(Moved(to_text(os.path.dirname(old)), to_text(os.path.dirname(new))))
    return ways


def _fixed(pattern: str) -> tuple[str, str]:
    """The folder that a pattern begins with, and the pattern below it."""
    parts = PurePosixPath(pattern).parts
    count = next((place for place, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return str(PurePosixPath(*parts[:count])), str(PurePosixPath(*parts[count:]))


def _said(lost: Sequence[Lost]) -> str:
    missing, others = [one.said for one in lost if one.missing], [one.said for one in lost if not one.missing]
    parts = [f"{len(missing):,} are missing ({_named(missing)})"] if missing else []
    parts += [f"{len(others):,} are others ({_named(others)})"] if others else []
    return " and ".join(parts)


def _named(found: Sequence[str]) -> str:
    return ", ".join([*found[:_NAMED], *(["…"] if len(found) > _NAMED else [])])
