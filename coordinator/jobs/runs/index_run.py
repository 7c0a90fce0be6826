"""A run of `index`: list the images of a source, have them embedded, until the index covers them all."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from coordinator.jobs.changes.refreshed import is_refreshed
from coordinator.jobs.create import accept_failures, make_or_open, require_sizes
from coordinator.jobs.index_request import NOTHING_TYPED, Typed
from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.runs import compact_run
from coordinator.jobs.runs.events import Doing, Finished, Said, Tell
from coordinator.jobs.runs.loop import until_indexed
from coordinator.jobs.runs.refreshing import COMPARING, add, counting, one_error, refresh_sources, said_of
from coordinator.jobs.source import move
from coordinator.jobs.source.changes import told_since_listed
from coordinator.jobs.source.same import require_addable, require_same_options, source_meant
from coordinator.sources.choosing import EVERYTHING, Choice
from coordinator.sources.resolve import open_source
from shared.errors import CorruptFile, LookalikeError, SourceError, UsageError
from shared.images.paths import to_os_path
from shared.job.bundle.facts import refuse_bundle
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.job.partition.features.record import STORED_VERSION
from shared.job.partition.features.wanted import want_features, wanted_features
from shared.job.source.moved import read_moved
from shared.settings import ON, Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of `index`.

    `source` is None for all sources of a job that is there; with `add` it is one more of that job. `workers` are to
    embed, where no broker is given. `sizes` are the partition and chunk size, and `wanted` what the index is to be,
    where they were given; `accepted` is whether images that seem lost are to be failed rows, `choice` which files of
    the source count, `moved` whether `source` is where the images of the job moved to. `frozen` is whether a new job is
    never to take up what comes to its source, None where that was not asked; with `yes`, more than a fifth of the
    images of a source may be gone from it.
    """

    source: str | None
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
    add: bool = False


def index(asked: Asked, tell: Tell) -> Progress:
    """Embed all images of a source into a job and build its index, or continue where that stood.

    A job that was there is completed first; then what came to the source, changed or went since it was listed is taken
    up, unless the job is frozen. Without a source, all of the job's are compared so; one that is to be added is listed
    first, and the others are left as they are. Where much of it is removed by then, or many partitions are small, it is
    compacted. It may be ended at any moment: the workers end, what is committed stays, and the same call continues.
    Raises as `make_or_open`, `refresh`, `add_source` and `run_job` do, and UsageError for arguments that don't go
    together.
    """
    _require_sense(asked)
    with _again(asked) as stdin:
        return _index(asked, stdin, tell)


def _require_sense(asked: Asked) -> None:
    if asked.add and asked.moved:
        raise UsageError("A source that is added has not moved: ask for one of the two.")
    if asked.source is not None:
        if asked.add:
            asked.job.require()
        return
    if asked.add or asked.moved or asked.choice:
        raise UsageError("It is not said which source is meant: name it before the job.")
    if not asked.job.spec.is_file():
        raise UsageError(
            f"{asked.job.path} is no job whose sources could be refreshed: name a source and a job, or a job that is "
            "there."
        )


def _index(asked: Asked, stdin: BinaryIO | None, tell: Tell) -> Progress:
    directory = asked.job
    resumed = directory.spec.is_file()
    if asked.moved and asked.source is not None:
        news = move.move(asked.source, directory, counting("Looking for the images", tell))
        tell(Said(move.said(directory, news)))
    job, number, added = _opened(asked, stdin, tell)
    require_sizes(job, *asked.sizes)
    _ask_for_features(job, asked.settings, tell)
    accept_failures(job, asked.accepted)
    asked.wanted.request(job, asked.settings)
    for sentence in _listed(job, number or 0):
        tell(Said(sentence))
    if added and asked.source is not None:
        job = add(asked.source, job, asked.choice, stdin, tell)
    progress = ProgressReader(job).read()
    if resumed and progress.done and not progress.is_whole:
        tell(Said(_before(progress)))
    failed: list[SourceError] = []
    if resumed and not added and not job.manifest.frozen and (number is None or is_refreshed(job, number)):
        if not progress.complete:  # Its workers start at once: comparing may take as long as the listing did.
            progress = until_indexed(job, asked.settings, progress, asked.workers, tell)
        try:
            failed = refresh_sources(job, asked.source, number, asked.yes, stdin, tell)
        except LookalikeError:
            if progress.is_whole:  # Nothing of that is lost.
                tell(Finished(progress))
            raise
        job = open_job(job)
        progress = ProgressReader(job).read()
    progress = until_indexed(job, asked.settings, progress, asked.workers, tell)
    if resumed:
        progress = compact_run.by_itself(job, asked.settings, progress, asked.workers, tell)
    tell(Finished(progress))
    if failed:
        raise one_error(failed)
    if resumed and job.manifest.frozen:
        tell(Doing(f"{COMPARING} …"))
        location = to_os_path(read_moved(job).now(job.manifest.source.location))
        for line in told_since_listed(asked.source or location, job):
            tell(Said(line))
    return progress


def _before(progress: Progress) -> str:
    """How much of a job that goes on was done by earlier runs."""
    what = "the index" if progress.complete else "the others" if progress.pending else "sealing them"
    return f"{progress.done:,} of {progress.held:,} images were done before; going on with {what}."


def _opened(asked: Asked, stdin: BinaryIO | None, tell: Tell) -> tuple[OpenJob, int | None, bool]:
    """The job, made where there was none; the number of the source that is meant, None for all of them; and whether it
    is still to be added.
    """
    if asked.source is None or asked.add:
        job = open_job(asked.job)
        refuse_bundle(job.path, job.manifest.bundle, "indexed")
        require_same_options(job, asked.settings, asked.frozen)
        if asked.source is None:
            return job, None, False
        given = open_source(asked.source, stdin, asked.choice)
        number = source_meant(given, job, exactly=True)
        if number is None or given.kind == "stdin":
            require_addable(job, given)
            return job, None, True
        tell(Said(f"{given.location} is a source of {job.path} already, and is refreshed."))
    resumed = asked.job.spec.is_file()
    listed = counting("Listing images", tell)
    job = make_or_open(
        asked.source,
        asked.job,
        asked.settings,
        listed,
        asked.choice,
        frozen=asked.frozen,
        stdin=stdin,
        told=lambda what: tell(Doing(what)),
    )
    return job, (source_meant(open_source(asked.source, stdin), job) or 0) if resumed else 0, False


def _ask_for_features(job: OpenJob, settings: Settings, tell: Tell) -> None:
    """Have features stored, where that is asked for and was not yet; of what is embedded, they are made of its images.

    So are those of another version, which can't stand beside the ones that this version makes.
    """
    if settings.copies != ON:
        return
    try:
        wanted = wanted_features(job)
    except CorruptFile:
        wanted = None
    if wanted == STORED_VERSION:
        return
    want_features(job)
    if job.sealed_numbers():
        tell(Said("what tells copies apart is stored too: images that are embedded are read again for it"))


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


def _listed(job: OpenJob, number: int) -> Iterator[str]:
    """What was listed, and what was not of the source of this number."""
    yield (
        f"{job.listed:,} images in {job.partition_count:,} "
        f"partition{'s' if job.partition_count > 1 else ''}; model {job.manifest.model.fingerprint}"
    )
    if job.manifest.fusion is not None:
        yield f"{job.manifest.fusion}"
    yield from said_of(job.sources[number].left_out, job.sources[number].notes)
