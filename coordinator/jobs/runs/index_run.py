"""A run of `index`: list the images of a source, have them embedded, until the index covers them all."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from coordinator.jobs.create import accept_failures, make_or_open, require_sizes
from coordinator.jobs.index_request import NOTHING_TYPED, Typed
from coordinator.jobs.progress import Progress, ProgressReader
from coordinator.jobs.runs.events import Doing, Finished, Said, Tell
from coordinator.jobs.runs.loop import until_indexed
from coordinator.jobs.source import move
from coordinator.jobs.source.changes import told_since_listed
from coordinator.sources import resolve
from coordinator.sources.choosing import EVERYTHING, Choice
from coordinator.sources.listing import SNIFF_HINT
from shared.job.directory import JobDir
from shared.job.opened import OpenJob
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of `index`.

    `workers` are to embed, where no broker is given. `sizes` are the partition and chunk size, and `wanted` what the
    index is to be, where they were given; `accepted` is whether images that seem lost are to be failed rows, `choice`
    which files of the source count, `moved` whether `source` is where the images of the job moved to.
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


def index(asked: Asked, tell: Tell) -> Progress:
    """Embed all images of a source into a job and build its index, or continue where that stood.

    It may be ended at any moment: the workers end, what is committed stays, and the same call continues. Raises as
    `make_or_open` and `run_job` do.
    """
    directory = asked.job
    resumed = directory.spec.is_file()
    if asked.moved:
        news = move.move(asked.source, directory, _counting("Looking for the images", tell))
        tell(Said(move.said(directory, news)))
    job = make_or_open(asked.source, directory, asked.settings, _counting("Listing images", tell), asked.choice)
    require_sizes(job, *asked.sizes)
    accept_failures(job, asked.accepted)
    asked.wanted.request(job, asked.settings)
    for sentence in _listed(job):
        tell(Said(sentence))
    progress = until_indexed(job, asked.settings, ProgressReader(job).read(), asked.workers, tell)
    tell(Finished(progress))
    if resumed:  # Last of all, as it may take as long as the listing did.
        tell(Doing("Comparing the source with what was listed …"))
        for line in told_since_listed(asked.source, job):
            tell(Said(line))
    return progress


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
