"""A run of `index`: list the images of a source, have them embedded, until the index covers them all."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

from coordinator.jobs.changes.refresh import Refreshed, is_refreshed, refresh
from coordinator.jobs.create import accept_failures, make_or_open, require_sizes
from coordinator.jobs.index_request import NOTHING_TYPED, Typed
from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.runs import compact_run
from coordinator.jobs.runs.events import Doing, Finished, Said, Tell
from coordinator.jobs.runs.loop import until_indexed
from coordinator.jobs.source import move
from coordinator.jobs.source.changes import told_since_listed
from coordinator.sources import resolve
from coordinator.sources.choosing import EVERYTHING, Choice
from coordinator.sources.listing import SNIFF_HINT
from shared.errors import JobBusy, LookalikeError
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.settings import Settings

_COMPARING: Final = "Comparing the source with what was listed"
_BUSY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of `index`.

    `workers` are to embed, where no broker is given. `sizes` are the partition and chunk size, and `wanted` what the
    index is to be, where they were given; `accepted` is whether images that seem lost are to be failed rows, `choice`
    which files of the source count, `moved` whether `source` is where the images of the job moved to. `frozen` is
    whether a new job is never to take up what comes to its source, None where that was not asked; with `yes`, more than
    a fifth of the images may be gone from it.
    """

    source: str
    job: JobDir
    settings: Settings
    workers: int = 1
    sizes: tuple[int | None, int | None] = (None, None)
    wanted: Typed = NOTHING_TYPED
    accepted: bool = False
    choice: Choice = EVERYTHING
    moved: bool = False
    frozen: bool | None = None
    yes: bool = False


def index(asked: Asked, tell: Tell) -> Progress:
    """Embed all images of a source into a job and build its index, or continue where that stood.

    A job that was there is completed first; then what came to its source, changed or went since it was listed is taken
    up, unless the job is frozen. Where much of it is removed by then, or many partitions are small, it is compacted. It
    may be ended at any moment: the workers end, what is committed stays, and the same
    call continues. Raises as `make_or_open`, `refresh` and `run_job` do.
    """
    with _again(asked) as stdin:
        return _index(asked, stdin, tell)


def _index(asked: Asked, stdin: BinaryIO | None, tell: Tell) -> Progress:
    directory = asked.job
    resumed = directory.spec.is_file()
    if asked.moved:
        news = move.move(asked.source, directory, _counting("Looking for the images", tell))
        tell(Said(move.said(directory, news)))
    listed = _counting("Listing images", tell)
    job = make_or_open(asked.source, directory, asked.settings, listed, asked.choice, frozen=asked.frozen, stdin=stdin)
    require_sizes(job, *asked.sizes)
    accept_failures(job, asked.accepted)
    asked.wanted.request(job, asked.settings)
    for sentence in _listed(job):
        tell(Said(sentence))
    progress = ProgressReader(job).read()
    if resumed and is_refreshed(job):
        if not progress.complete:  # Its workers start at once: comparing may take as long as the listing did.
            progress = until_indexed(job, asked.settings, progress, asked.workers, tell)
        try:
            found = _refreshed(asked, job, stdin, tell)
        except LookalikeError:
            if progress.index_is_current:  # Nothing of that is lost.
                tell(Finished(progress))
            raise
        for sentence in filter(None, [*found.notes, str(found)]):
            tell(Said(sentence))
        job = open_job(job)
        progress = ProgressReader(job).read()
    progress = until_indexed(job, asked.settings, progress, asked.workers, tell)
    if resumed:
        progress = compact_run.by_itself(job, asked.settings, progress, asked.workers, tell)
    tell(Finished(progress))
    if resumed and not is_refreshed(job):
        tell(Doing(f"{_COMPARING} …"))
        for line in told_since_listed(asked.source, job):
            tell(Said(line))
    return progress


def _refreshed(asked: Asked, job: OpenJob, stdin: BinaryIO | None, tell: Tell) -> Refreshed:
    """Take up what changed in the source; where another process changes the job just now, once that has ended."""
    told = _counting(_COMPARING, tell)
    while True:
        try:
            return refresh(asked.source, job, told, yes=asked.yes, stdin=stdin)
        except JobBusy:
            tell(Doing(f"Waiting until another process has changed {job.path} …"))
            time.sleep(_BUSY_SECONDS)


@contextmanager
def _again(asked: Asked) -> Iterator[BinaryIO | None]:
    """A list on standard input, for a job that is there: it is read more than once. None for any other source."""
    if asked.source != "-" or not asked.job.spec.is_file():
        yield None
        return
    with tempfile.TemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.seek(0)
        yield kept


def _counting(what: str, tell: Tell) -> Callable[[int], None]:
    tell(Doing(f"{what} …"))
    return lambda count: tell(Doing(f"{what} … {count:,} so far"))


def _listed(job: OpenJob) -> Iterator[str]:
    """What was listed, and what was not."""
    yield (
        f"{job.listed:,} images in {job.partition_count:,} "
        f"partition{'s' if job.partition_count > 1 else ''}; model {job.manifest.model.fingerprint}"
    )
    if job.manifest.source.left_out:
        yield "not listed: " + ", ".join(
            f"{count:,} {reason}" for reason, count in job.manifest.source.left_out.items()
        )
    if "without suffix" in job.manifest.source.left_out:
        yield SNIFF_HINT
    if job.manifest.source.notes:
        yield "noted: " + ", ".join(f"{count:,} {what}" for what, count in job.manifest.source.notes.items())
    if (missing := resolve.hint(job.manifest.source.notes)) is not None:
        yield missing
