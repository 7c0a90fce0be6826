"""Take up in a job what came to its source, changed there, or went: one change of the job, or none."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import BinaryIO, Final

import numpy as np

from coordinator.jobs.create import write_path_list
from coordinator.jobs.source.archives import ListedArchives
from coordinator.jobs.source.compared import Compared, Standing, compare
from coordinator.jobs.source.keys import PathKeys, keys_of
from coordinator.jobs.source.looked_at import LookedAt
from coordinator.jobs.source.news import News, still_renamed
from coordinator.sources.choosing import choice_of
from coordinator.sources.listing import ListedImage, Listing
from coordinator.sources.metadata.columns import SettledColumns
from coordinator.sources.resolve import open_source
from shared.errors import JobBusy, SourceError
from shared.errors.remedy import Remedy
from shared.images.paths import is_url
from shared.job.changes.adding import take_back
from shared.job.changes.lock import changing
from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.source.files import difference
from shared.job.source.moved import Moved, read_moved, write_moved
from shared.processes.failpoints import failpoint

LARGE_SHARE: Final = 0.2
"""The share of a job's images that may be gone from its source before a person is asked."""
ACTION: Final = "refresh"


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How many images came, changed, went, and have new paths; `notes` are sentences about what was left out."""

    new: int = 0
    changed: int = 0
    gone: int = 0
    renamed: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Counts as people say them, "1,204 new, 3 changed, 17 gone"; "" where nothing changed."""
        counts = (("new", self.new), ("changed", self.changed), ("gone", self.gone), ("renamed", self.renamed))
        return ", ".join(f"{count:,} {what}" for what, count in counts if count)


def is_refreshed(job: OpenJob) -> bool:
    """Whether a job takes up what comes to its source: none that is frozen, of vectors, or of a place behind a URL."""
    source = job.manifest.source
    is_list = source.kind in ("list", "stdin")
    return not (job.manifest.frozen or job.manifest.model.is_imported or (is_url(source.location) and not is_list))


def refresh(
    source: str, job: JobDir, told: Callable[[int], None], *, yes: bool = False, stdin: BinaryIO | None = None
) -> Refreshed:
    """Compare the source of a job with what the job knows, and write what came, changed or went as one change.

    The job's partitions are sealed. `told` hears how many images were compared; with `yes`, more than a fifth of them
    may be gone. `stdin` is the list where it is on standard input. A kill at any moment leaves the job as it was, or
    changed; paths of files that were renamed are known one moment before the rest. Raises JobBusy while another process
    changes the job, and SourceError, with nothing changed, when the source can't be listed or too much of it is gone.
    """
    with changing(job) as opened:
        return _Refresh(opened, source, stdin).run(told, yes)


class _Refresh:
    """A refresh under way, under the lock of the job."""

    def __init__(self, job: OpenJob, source: str, stdin: BinaryIO | None) -> None:
        self._job, self._source, self._stdin = job, source, stdin
        self._number = job.state.number + 1
        self._written: list[Partition] = []
        self._columns = SettledColumns(job.manifest.source.known)
        self._archives = ListedArchives()
        self._nameless = 0

    def run(self, told: Callable[[int], None], yes: bool) -> Refreshed:
        job, looked_at = self._job, LookedAt(self._job)
        named = PathKeys(keys_of(self._listing())) if job.manifest.source.kind in ("list", "stdin") else None
        before = read_moved(job)
        moved = still_renamed(before, named)
        compared = compare(job, moved, named, looked_at, told)
        news = News(job, moved, compared)
        if not yes:
            self._require_few(len(compared.gone) - news.most_renamed)
        try:
            self._write_path_lists(news, moved, compared)
            removed, reasons = news.removed()
            if not yes:
                self._require_few(reasons["gone"])
            archives = {moved.listed(path): state for path, state in self._archives.states().items()}
            # Renamed files first: were the change there without them, a new image could be taken for one of those.
            if (after := news.moved()) != before:
                failpoint("write_moved")
                write_moved(job, after)
            if self._written or removed or archives:
                ids = np.array(sorted(removed), np.int64)
                change = Change(self._number, ACTION, self._written, ids, dict(+reasons), archives)
                write_change(job, job.manifest, change)
        except BaseException:
            self._take_back()
            raise
        with suppress(OSError):  # It only saves time.
            looked_at.write()
        came = sum(map(len, self._written))
        notes = list(self._notes(compared))
        return Refreshed(max(0, came - reasons["changed"]), reasons["changed"], reasons["gone"], news.renamed, notes)

    def _listing(self, wanted: Callable[[str], bool] = lambda path: True) -> Listing:
        if self._stdin is not None:
            self._stdin.seek(0)
        return open_source(self._source, self._stdin, choice_of(self._job.manifest.source), wanted=wanted)

    def _write_path_lists(self, news: News, moved: Moved, compared: Compared) -> None:
        """Write the path lists of what is new, behind the last partition; they count once a change names them."""
        for path, standing in compared.archives.items():
            if standing is Standing.CHANGED:
                self._archives.look_at(path)
        images = self._as_listed(self._archives.seen(news.among(self._images(news))), moved)
        take_back(self._job, self._job.state.next_number)
        start, number = self._job.listed, self._job.next_number()
        while part := list(islice(images, self._job.manifest.partition_size)):
            partition = Partition(number, start, start + len(part))
            self._require_first()
            failpoint("write_paths")
            self._written.append(partition)
            write_path_list(self._job, partition, part, self._columns)
            start, number = partition.stop, number + 1

    def _images(self, news: News) -> Iterator[ListedImage]:
        """The images of the source, without those that need not be looked at again."""
        listing = self._listing(news.wants)
        state = self._job.archives().get(self._job.manifest.source.location)
        if listing.kind == "archive" and state is not None and difference(listing.location, state) is None:
            return iter(())
        return listing.images

    def _as_listed(self, images: Iterator[ListedImage], moved: Moved) -> Iterator[ListedImage]:
        """`images` by the paths that lists of the job have for them, whose source may have moved since it was made."""
        for image in images:
            listed = moved.listed(image.path)
            if moved.now(listed) == image.path:
                yield image if listed == image.path else replace(image, path=listed)
            else:
                self._nameless += 1

    def _require_first(self) -> None:
        """Raise JobBusy when another process has changed the job meanwhile, as it can where there are no locks."""
        if self._job.change(self._number).is_file():
            raise JobBusy(f"Another process changed {self._job.path} at the same time: run the command again.")

    def _require_few(self, gone: int) -> None:
        """Raise SourceError when so many images are gone that the source may be away."""
        held = self._job.listed - len(self._job.state.removed)
        if gone > LARGE_SHARE * held:
            location = read_moved(self._job).now(self._job.manifest.source.location)
            raise SourceError(
                f"{gone:,} of the {held:,} images of {self._job.path} are not in {location} any more, as when a disk "
                "or mount is away. Nothing was changed.",
                remedy=Remedy("option", does="if they are gone for good, {} removes them", given={"yes": ""}),
            )

    def _take_back(self) -> None:
        """Remove the path lists that were written, unless a change of this number names them."""
        with suppress(OSError):
            if not self._job.change(self._number).is_file():
                for partition in self._written:
                    self._job.paths(partition.number).unlink(missing_ok=True)

    def _notes(self, compared: Compared) -> Iterator[str]:
        if self._columns.left_out:
            values = {what: f"{count:,} value{'s' * (count > 1)}" for what, count in self._columns.left_out.items()}
            counts = "; ".join(f"{count} {what}" for what, count in values.items())
            yield f"not taken up: {counts}"
        if self._nameless:
            yield f"not taken up: {self._nameless:,} images where the job has others, since its source moved"
        if compared.deleted:
            were = "1 image that was" if compared.deleted == 1 else f"{compared.deleted:,} images that were"
            yield f"not taken up: {were} deleted, whose files are there as they were"
        if compared.unseen:
            such_as = compared.unseen_path
            yield f"{compared.unseen:,} images can't be looked at, such as {such_as}: they stay as they are."
