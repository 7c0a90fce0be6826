"""What a refresh of a source found, which sources are refreshed at all, and how much of one may be gone."""

import os
from dataclasses import dataclass, field
from typing import Final

from shared.errors import SourceError
from shared.errors.remedy import Remedy
from shared.images.paths import is_url, to_os_path
from shared.job.manifest import Source
from shared.job.opened import OpenJob
from shared.job.source.moved import Moved

LARGE_SHARE: Final = 0.2
"""The share of the images of a source that may be gone from it before a person is asked."""
LISTS: Final = ("list", "stdin")
"""The kinds of sources that name each of their images themselves."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How many images came, changed, went, and have new paths; `notes` are sentences about what was left out.

    `elsewhere` counts images and archives of the source that another source of the job has.
    """

    new: int = 0
    changed: int = 0
    gone: int = 0
    renamed: int = 0
    notes: list[str] = field(default_factory=list)
    elsewhere: int = 0

    def __str__(self) -> str:
        """Counts as people say them, "1,204 new, 3 changed, 17 gone"; "" where nothing changed."""
        counts = (("new", self.new), ("changed", self.changed), ("gone", self.gone), ("renamed", self.renamed))
        return ", ".join(f"{count:,} {what}" for what, count in counts if count)


def is_refreshed(job: OpenJob, number: int = 0) -> bool:
    """Whether a job takes up what comes to a source: none that is frozen, of vectors, or of a place behind a URL."""
    source = job.sources[number]
    away = is_url(source.location) and source.kind not in LISTS
    return not (job.manifest.frozen or job.manifest.model.is_imported or away)


def require_there(job: OpenJob, source: Source, moved: Moved) -> None:
    """Raise SourceError unless there is something where a source of a job was listed, or moved to."""
    place = to_os_path(moved.now(source.location))
    if source.kind in ("glob", "stdin") or is_url(place) or os.path.lexists(place):
        return
    remedy = Remedy("index", str(job.path), "if it moved, {} finds it there", {"source": "NEWPLACE", "moved": ""})
    raise SourceError(
        f"{place}, a source of {job.path}, is not there: mount the disk that it is on, or put it back.",
        remedy=None if source.kind in LISTS else remedy,
    )


def require_few(job: OpenJob, number: int, location: str, gone: int) -> None:
    """Raise SourceError when so many images of a source, which is at `location` now, are gone that it may be away."""
    held = sum(len(job.kept(partition, number)) for partition in job.partitions)
    if gone <= LARGE_SHARE * held:
        return
    lost = "are not in {} any more, as when a disk or mount is away. Nothing was changed."
    does = "if they are gone for good, {} removes them"
    if len(job.sources) == 1:
        raise SourceError(
            f"{gone:,} of the {held:,} images of {job.path} {lost.format(location)}",
            remedy=Remedy("option", does=does, given={"yes": ""}),
        )
    raise SourceError(
        f"{gone:,} of the {held:,} images that {job.path} has from there {lost.format(location)}",
        remedy=Remedy("index", str(job.path), does, {"source": location, "yes": ""}),
    )
