"""Take up in a job what came to its source, changed there, or went: one change of the job, or none."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import BinaryIO, Final

import numpy as np

from coordinator.jobs.changes.refreshed import LISTS, Refreshed, require_few, require_there
from coordinator.jobs.create import write_path_list
from coordinator.jobs.source.archives import ListedArchives
from coordinator.jobs.source.compared import Compared, Standing, compare
from coordinator.jobs.source.elsewhere import Elsewhere, elsewhere
from coordinator.jobs.source.keys import PathKeys, keys_of
from coordinator.jobs.source.looked_at import LookedAt
from coordinator.jobs.source.lost.left_out import LeftOutFiles
from coordinator.jobs.source.news import News, still_renamed
from coordinator.jobs.source.same import require_addable
from coordinator.sources.choosing import Choice, choice_of
from coordinator.sources.listing import ListedImage, Listing, PathDigest, no_images
from coordinator.sources.metadata.columns import SettledColumns
from coordinator.sources.resolve import open_source
from shared.errors import JobBusy, SourceError
from shared.images.paths import to_os_path
from shared.job.changes.adding import take_back
from shared.job.changes.lock import changing
from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.manifest import Partition, Source
from shared.job.opened import OpenJob
from shared.job.source.files import difference
from shared.job.source.moved import Moved, read_moved, write_moved
from shared.processes.failpoints import failpoint

ACTION: Final = "refresh"
ADDED: Final = "add source"
_REPORT_EVERY: Final = 1_000


def refresh(
    source: str | None,
    job: JobDir,
    told: Callable[[int], None],
    *,
    number: int = 0,
    yes: bool = False,
    stdin: BinaryIO | None = None,
) -> Refreshed:
    """Compare a source of a job with what the job knows, and write what came, changed or went as one change.

    `number` is that of the source, and `source` what was typed for it, None to look where it is known to be. Images of
    the other sources are left alone. The job's partitions are sealed. `told` hears how many images were compared; with
    `yes`, more than a fifth of them may be gone. `stdin` is the list where it is on standard input. A kill at any
    moment leaves the job as it was, or changed; paths of files that were renamed are known one moment before the rest.
    Raises JobBusy while another process changes the job, and SourceError, with nothing changed, when the source can't
    be listed or too much of it is gone.
    """
    with changing(job) as opened:
        return _Refresh(opened, source, stdin, number, opened.sources[number]).run(told, yes)


def add_source(
    source: str, job: JobDir, choice: Choice, told: Callable[[int], None], stdin: BinaryIO | None = None
) -> Refreshed:
    """Add a source to a job: its images become partitions behind those that are there, by one change.

    An image that another source has already stays that one's. `choice` is what was typed about its files; `told` hears
    how many images were listed. A kill leaves the job without the source, or with it. Raises JobMismatch for a job that
    takes up nothing, SourceError, with nothing changed, when the source can't be listed or has no image for the job,
    and JobBusy as `refresh` does.
    """
    with changing(job) as opened:
        listing = open_source(source, stdin, choice)
        require_addable(opened, listing)
        typed = Source(
            listing.kind, listing.location, "", exclude=[*choice.exclude], include=[*choice.include], sniff=choice.sniff
        )
        return _Refresh(opened, source, stdin, len(opened.sources), typed).run(told, True)


class _Refresh:
    """A refresh of one source under way, under the lock of the job; or the first listing of one that is added."""

    def __init__(self, job: OpenJob, typed: str | None, stdin: BinaryIO | None, number: int, source: Source) -> None:
        self._job, self._typed, self._stdin, self._source_number, self._source = job, typed, stdin, number, source
        self._adds = number == len(job.sources)
        self._number = job.state.number + 1
        self._written: list[Partition] = []
        self._columns = SettledColumns(job.manifest.source.known)
        self._archives = ListedArchives()
        self._digest = PathDigest()
        self._nameless = 0
        self._moved = read_moved(job)
        self._left_out: Counter[str] = Counter()
        self._noted: Counter[str] = Counter()

    def run(self, told: Callable[[int], None], yes: bool) -> Refreshed:
        if self._typed is None:
            require_there(self._job, self._source, self._moved)
        job, looked_at, before = self._job, LookedAt(self._job), self._moved
        listed_by_name = self._source.kind in LISTS and not self._adds
        named = PathKeys(keys_of(self._listing())) if listed_by_name else None
        others = elsewhere(job, self._source_number, before)
        moved = still_renamed(before, named, others.renamed)
        heard: Callable[[int], None] = (lambda count: None) if self._adds else told
        compared = compare(job, self._source_number, self._source, moved, named, looked_at, heard)
        news = News(job, moved, compared, others, LeftOutFiles(job, looked_at))
        if not yes:
            self._require_few(len(compared.gone) - news.most_renamed)
        try:
            self._write_path_lists(news, moved, compared, told)
            if self._adds and not self._written:
                raise self._nothing_to_add(others)
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
                adds, action = (self._as_added(), ADDED) if self._adds else (None, ACTION)
                change = Change(
                    self._number, action, self._written, ids, dict(+reasons), archives, self._source_number, adds
                )
                write_change(job, job.manifest, change)
        except BaseException:
            self._take_back()
            raise
        with suppress(OSError):  # It only saves time.
            looked_at.write()
        new = max(0, self._digest.count - reasons["changed"])
        notes = [*self._notes(compared), *filter(None, [others.note])]
        met = others.images + len(others.whole)
        return Refreshed(new, reasons["changed"], reasons["gone"], news.renamed, notes, met)

    def _as_added(self) -> Source:
        """The source that is added, as its listing found it."""
        counts = (dict(sorted(counter.items())) for counter in (self._left_out, self._noted))
        left_out, notes = counts
        return replace(self._source, digest=self._digest.hexdigest(), left_out=left_out, notes=notes)

    def _nothing_to_add(self, others: Elsewhere) -> SourceError:
        found = "; ".join([*filter(None, [others.note]), *self._nameless_note()])
        if not found:
            return SourceError(no_images(self._source.location, self._left_out))
        return SourceError(
            f"{self._source.location} has no image for {self._job.path} that is not there already, and was not added: "
            f"{found}."
        )

    def _listing(self, wanted: Callable[[str], bool] = lambda path: True) -> Listing:
        if self._stdin is not None:
            self._stdin.seek(0)
        place = self._typed or to_os_path(self._moved.now(self._source.location))
        return open_source(place, self._stdin, choice_of(self._source), wanted=wanted)

    def _write_path_lists(self, news: News, moved: Moved, compared: Compared, told: Callable[[int], None]) -> None:
        """Write the path lists of what is new, behind the last partition; they count once a change names them."""
        for path, standing in compared.archives.items():
            if standing is Standing.CHANGED:
                self._archives.look_at(path)
        listing = self._listing(news.wants)
        images = self._counted(self._as_listed(self._archives.seen(news.among(self._images(listing))), moved), told)
        take_back(self._job, self._job.state.next_number)
        start, number = self._job.listed, self._job.next_number()
        while part := list(islice(images, self._job.manifest.partition_size)):
            partition = Partition(number, start, start + len(part))
            self._require_first()
            failpoint("write_paths")
            self._written.append(partition)
            write_path_list(self._job, partition, part, self._columns)
            start, number = partition.stop, number + 1
        self._left_out, self._noted = listing.left_out, listing.notes

    def _images(self, listing: Listing) -> Iterator[ListedImage]:
        """The images of the source, without those that need not be looked at again."""
        state = None if self._adds else self._job.archives().get(self._source.location)
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

    def _counted(self, images: Iterator[ListedImage], told: Callable[[int], None]) -> Iterator[ListedImage]:
        for image in images:
            self._digest.add(image.path)
            if self._adds and self._digest.count % _REPORT_EVERY == 0:
                told(self._digest.count)
            yield image

    def _require_first(self) -> None:
        """Raise JobBusy when another process has changed the job meanwhile, as it can where there are no locks."""
        if self._job.change(self._number).is_file():
            raise JobBusy(f"Another process changed {self._job.path} at the same time: run the command again.")

    def _require_few(self, gone: int) -> None:
        require_few(self._job, self._source_number, self._moved.now(self._source.location), gone)

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
        yield from self._nameless_note()
        if compared.deleted:
            were = "1 image that was" if compared.deleted == 1 else f"{compared.deleted:,} images that were"
            yield f"not taken up: {were} deleted, whose files are there as they were"
        if compared.unseen:
            such_as = compared.unseen_path
            yield f"{compared.unseen:,} images can't be looked at, such as {such_as}: they stay as they are."

    def _nameless_note(self) -> Iterator[str]:
        if self._nameless:
            yield f"not taken up: {self._nameless:,} images where the job has others, since its source moved"
