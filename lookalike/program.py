"""Open a job, index images, or connect to query workers elsewhere: the functions that a program calls first."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lookalike import extras
from lookalike.client import Client
from lookalike.job import Job
from lookalike.tools.given import require_lists, settings_with
from shared.errors import UsageError
from shared.job.directory import JobDir

if TYPE_CHECKING:
    from coordinator.jobs.runs import events


def open(job: str | os.PathLike[str], broker: str | None = None) -> Job:
    """Open a job, to search it and to ask for its status.

    Parameters
    ----------
    job
        Its directory, or its URL in a bucket.
    broker
        A redis:// URL behind which query workers run; by default that of the environment or of lookalike.toml. If there
        is none, the first search starts a broker and a worker, which end with this program.

    Raises
    ------
    LookalikeError
        JobNotFound if there is no job, CorruptFile or JobMismatch for a job that this version can't read.
    """
    return Job(job, broker)


def connect(job: str | os.PathLike[str], broker: str | None = None) -> Client:
    """Connect to the query workers behind a broker, for a job whose files need not be on this machine.

    Parameters
    ----------
    job
        The id of a job, or its directory or URL.
    broker
        A redis:// URL; by default that of the environment or of lookalike.toml.

    Raises
    ------
    LookalikeError
        BrokerUnreachable when nothing answers, SettingsError when no broker is known.
    """
    return Client(job, broker)


@dataclass(frozen=True, slots=True)
class Event:
    """A report of `index` about its work; as text it is a sentence.

    Attributes
    ----------
    sentence
        What happens, for people.
    done, listed
        How many images are embedded or failed, and of how many; None while that is not known.
    images_per_second, eta_seconds
        The rate of all workers and the time left; None while nothing is being committed.
    passing
        Whether it says what happens just now, so that the next event takes its place; others are to be kept.
    """

    sentence: str
    done: int | None = None
    listed: int | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None
    passing: bool = False

    def __str__(self) -> str:
        return self.sentence


def index(
    source: str | os.PathLike[str],
    job: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[Event], object] | None = None,
    every: float = 10.0,
    model: str | os.PathLike[str] | None = None,
    model_input: str | None = None,
    model_output: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    engine: str | None = None,
    precision: str | None = None,
    decode: str | None = None,
    copies: str | None = None,
    fusion: bool = False,
    broker: str | None = None,
    workers: int = 1,
    partition_size: int | None = None,
    chunk_size: int | None = None,
    index: str | None = None,
    recall: float | None = None,
    index_memory: str | None = None,
    shards: int | None = None,
    shard_memory: str | None = None,
    accept_failures: bool = False,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    sniff: bool = False,
    moved: bool = False,
    frozen: bool = False,
    yes: bool = False,
    add: bool = False,
) -> Job:
    """Embed all images of a source into a job and build its index, as `lookalike index` does; the same call continues,
    and then takes up what came to the source, changed or went.

    Ctrl-C, or an exception from `progress`, ends it: the workers end after the batch under way, what is committed
    stays, and the same call continues from there. You may call it in any thread.

    Parameters
    ----------
    source
        A folder, an archive, a list of paths, a glob, or a URL of these.
    job
        The directory or URL of the job, which is created or resumed. If one argument alone is given, it is a job that
        is there, of which all sources are compared.
    progress
        A function that is called in this thread with each `Event`; `print` is enough.
    every
        Seconds between two events that only count up; 0 for each look, about one a second.
    workers
        How many embed workers to start if there is no broker.
    model, model_input, model_output, weights, engine, precision, decode, copies, fusion, broker, partition_size,
    chunk_size, index, recall, index_memory, shards, shard_memory, accept_failures, exclude, include, sniff, moved,
    frozen, yes, add
        As the options of `lookalike index` (docs/cli.md).

    Returns
    -------
    Job
        The job, open.

    Raises
    ------
    LookalikeError
        SourceError when the images can't be listed, JobMismatch when the job was made from another source or model,
        WorkerFailed when the workers can't continue, and others, each with a sentence.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise UsageError(f"workers is {workers!r}; at least one has to embed.")
    require_lists("patterns", exclude=exclude, include=include)
    with extras.needed("To index"):
        from coordinator.jobs.index_request import Typed
        from coordinator.jobs.runs import index_run
        from coordinator.sources.choosing import Choice
    given, job = (None, source) if job is None else (os.fspath(source), job)
    directory = JobDir.at(os.fspath(job))
    settings = settings_with(
        broker,
        model,
        weights,
        fusion,
        model_input=model_input,
        model_output=model_output,
        engine=engine,
        precision=precision,
        decode=decode,
        copies=copies,
        partition_size=partition_size,
        chunk_size=chunk_size,
    )
    asked = index_run.Asked(
        given,
        directory,
        settings,
        workers,
        (partition_size, chunk_size),
        Typed(index, recall, index_memory, shards, shard_memory),
        accept_failures,
        Choice(tuple(exclude), tuple(include), sniff),
        moved,
        frozen or None,
        yes,
        add,
    )
    with extras.needed("To index"):
        index_run.index(asked, _Telling(progress, every).tell)
    return Job(job, broker)


class _Telling:
    """Tells a program's callback what happens: each sentence at once, and counts every so many seconds."""

    def __init__(self, progress: Callable[[Event], object] | None, every: float) -> None:
        self._progress = progress
        self._every = every
        self._kind: type[object] | None = None
        self._last = 0.0

    def tell(self, event: "events.Event") -> None:
        if self._progress is None:
            return
        from coordinator.display import job_view
        from coordinator.jobs.runs import events

        now = time.monotonic()
        counts = isinstance(event, events.Doing | events.Step)
        due = not counts or type(event) is not self._kind or now - self._last >= self._every
        if isinstance(event, events.Step):
            for notice in event.notices:
                self._progress(Event(str(notice)))
        if not due:
            return
        self._kind, self._last = type(event), now
        if isinstance(event, events.Doing):
            self._progress(Event(event.what, passing=True))
        elif isinstance(event, events.Said):
            self._progress(Event(event.sentence))
        else:
            found = event.look.progress if isinstance(event, events.Step) else event.progress
            if isinstance(event, events.Step):
                sentence = job_view.one_line(found, job_view.activity(event.look))
            else:
                sentence = "\n".join(job_view.finished_lines(found, found.job)[:2])
            rate, left, passing = found.images_per_second, found.eta_seconds, isinstance(event, events.Step)
            self._progress(Event(sentence, found.done, found.held, rate, left, passing))
