"""Define the tasks of the embed role, thin around `embed_partition`, `embed_copies`, `apply` and `compare_pairs`."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Celery, Task, shared_task
from celery.exceptions import Reject
from celery.worker import state

from shared.broker.connection import CONNECTION_ERRORS
from shared.broker.lease import COPIES, MERGE, Lease, compare_lease, holders
from shared.broker.queues import queued_messages, send_copies, send_merge
from shared.errors import JobError, LookalikeError, MessageError
from shared.job.altered_copies import Copies
from shared.job.identity import known_as
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger
from shared.messages.changed import failed_to_json
from shared.messages.changes import ChangeJob
from shared.messages.duplicates import ComparePairs
from shared.messages.tasks import (
    CHANGE_TASK,
    COMPARE_TASK,
    COPIES_TASK,
    EMBED_QUEUE,
    EMBED_TASK,
    MERGE_QUEUE,
    EmbedCopies,
    EmbedPartition,
    MergeJob,
)
from shared.processes.control import Control, Stopped
from shared.processes.failpoints import failpoint
from shared.processes.load import StageLoad
from shared.text import duration
from workers.evaluate.duplicates.kept_open import KeptOpen
from workers.tasks.leased import leased, progress_events, received, refuse
from workers.tasks.runtime import Runtime

if TYPE_CHECKING:
    from workers.evaluate.duplicates.pictures import Pictures

log = logging.getLogger("lookalike.worker")
_pictures: "KeptOpen[Pictures]" = KeptOpen()

# Altered copies are only measured by: what still fails at the third time does not hold up the index.
_TRIES = 3
# What ends by itself, or would keep the merge from its work as well.
_NOT_FOR_COPIES: tuple[type[Exception], ...] = (Stopped, JobError, OSError, *CONNECTION_ERRORS)


@shared_task(name=EMBED_TASK, bind=True, ignore_result=True, max_retries=None)
def embed_partition(task: Task, table: dict[str, Any]) -> str:
    """Embed what is missing of one partition and seal it; returns a summary for Flower."""
    # Imported here: TensorFlow and OpenCV are for the process that embeds, not for each that knows the task's name.
    from workers.embed import partition
    from workers.embed.add_features import add_features
    from workers.models.loaded import loaded_embedder

    runtime: Runtime = task.app.lookalike
    message = received(EmbedPartition.from_json, table)
    shown = str(task.request.argsrepr or message)
    with (
        leased(task, message.known_as, message.partition, shown) as lease,
        progress_events(task) as report,
    ):
        job = runtime.job(message.job, message.identity)
        job = open_job(job)
        if message.partition >= job.state.next_number:
            refuse(MessageError(f"{message.job} has {job.partition_count} partitions, none is {message.partition}."))
        if not job.holds(message.partition):
            return "replaced by a compaction"  # An extra message, of before that.
        started = time.monotonic()
        control = Control(partial(_keep_going, task), lease.held, report)
        if ledger.is_sealed(job, message.partition):  # Its features may be wanted, which need no model.
            ledger.remove_chunks(job, message.partition)  # As a worker left them that was killed once it had sealed it.
            if add_features(job, job.partition(message.partition), control, runtime.settings.decode_threads):
                return f"features made · {duration(time.monotonic() - started)}"
            seal = ledger.read_seal(job, message.partition)
        else:
            seal = partition.embed_partition(
                job,
                job.partition(message.partition),
                loaded_embedder(job.manifest.model, job.model_dir, runtime.settings),
                control,
                runtime.settings.decode_threads,
            )
        seconds = time.monotonic() - started
    if len(job.sealed()) == job.partition_count:
        _ask(task, job, send_merge if job.manifest.model.is_imported else send_copies)
    told = ["sealed", f"{seal.embedded:,} embedded", f"{seal.failed:,} failed", duration(seconds)]
    load = StageLoad.from_json(seal.load)
    return " · ".join([*told, str(load)] if load else told)


@shared_task(name=COPIES_TASK, bind=True, ignore_result=True, max_retries=None)
def embed_copies(task: Task, table: dict[str, Any]) -> str:
    """Embed altered copies of some images of a job, and ask for its merge; returns a summary for Flower."""
    runtime: Runtime = task.app.lookalike
    message = received(EmbedCopies.from_json, table)
    shown = str(task.request.argsrepr or message)
    with (
        leased(task, message.known_as, COPIES, shown) as lease,
        progress_events(task) as report,
    ):
        job = runtime.job(message.job, message.identity)
        job = open_job(job)
        copies = _copies(task, job, lease, report)
    _ask(task, job, send_merge)
    return f"{len(copies)} copies of {copies.images} images" if len(copies) else f"no copies: {copies.reason}"


@shared_task(name=CHANGE_TASK, bind=True, max_retries=None)
def change_job(task: Task, table: dict[str, Any]) -> dict[str, Any]:
    """Make the change of a job that a program asks for, once; an error travels in the reply.

    It comes again when its worker ends, as each message here does, and finds by its request what was done.
    """
    from workers.embed.changes.apply import apply

    runtime: Runtime = task.app.lookalike
    try:
        message = ChangeJob.from_json(table)
        job = runtime.job(message.job, message.identity)
        control: Control[str] = Control(partial(_keep_going, task), lambda: True, lambda told: None)
        changed = apply(job, message, runtime.settings, control.require_going)
        failpoint("reply_to_change")
        if changed.uncovered[0]:
            _ask_once(task, open_job(job))
    except Stopped:
        raise Reject("stopped; nothing was changed", requeue=True) from None
    except LookalikeError as error:
        log.error("A change was not made: %s", error)
        return failed_to_json(error)
    except OSError as error:
        log.error("A change was not made: %s", error)
        return failed_to_json(
            LookalikeError(f"The worker's disk refused: {error}. The same request again says what was done.")
        )
    return changed.to_json()


@shared_task(name=COMPARE_TASK, bind=True, ignore_result=True, max_retries=None)
def compare_pairs(task: Task, table: dict[str, Any]) -> str:
    """Compare a batch of pairs of images of a job by what they show; returns a summary for Flower."""
    from workers.evaluate.duplicates import compare, pictures

    runtime: Runtime = task.app.lookalike
    message = received(ComparePairs.from_json, table)
    shown = str(task.request.argsrepr or message)
    with (
        leased(task, message.known_as, compare_lease(message.batch), shown) as lease,
        progress_events(task) as report,
    ):
        job = open_job(runtime.job(message.job, message.identity))
        control: Control[float] = Control(
            partial(_keep_going, task), lease.held, lambda share: report(f"comparing · {share:.0%}")
        )
        try:
            seen = _pictures.of((job.path, job.state.number), lambda: pictures.Pictures(job, runtime.settings))
            same = compare.compare_pairs(job, message.batch, control, runtime.decode_threads, seen)
        finally:
            _pictures.rest()
    return f"{same:,} pairs show the same"


def _ask_once(task: Task, job: OpenJob) -> None:
    """Ask for the merge of a job that has grown, unless somebody has: each further image that is added would again."""
    runtime: Runtime = task.app.lookalike
    known = (job.job_id, job.manifest.identity)
    with suppress(*CONNECTION_ERRORS):
        held = {holder.what for holder in holders(runtime.client, known_as(*known))}
        asked = EmbedCopies(*known).to_json() in queued_messages(runtime.client, EMBED_QUEUE)
        asked = asked or MergeJob(*known).to_json() in queued_messages(runtime.client, MERGE_QUEUE)
        if not asked and not held & {COPIES, MERGE}:
            _ask(task, job, send_merge if job.manifest.model.is_imported else send_copies)


def _keep_going(task: Task) -> bool:
    runtime: Runtime = task.app.lookalike
    return not runtime.stopping.is_set() and task.request.id not in state.revoked


def _copies(task: Task, job: OpenJob, lease: Lease, report: Callable[[str], None]) -> Copies:
    from workers.evaluate import altered_copies
    from workers.models.loaded import loaded_embedder

    runtime: Runtime = task.app.lookalike
    try:
        return altered_copies.embed_copies(
            job,
            loaded_embedder(job.manifest.model, job.model_dir, runtime.settings),
            Control(partial(_keep_going, task), lease.held, report),
            runtime.decode_threads,
        )
    except _NOT_FOR_COPIES:
        raise
    except Exception as error:
        if task.request.retries + 1 < _TRIES:
            raise
        log.error("%s: the index is built without altered copies, as they can't be made: %s", job.job_id, error)
        return altered_copies.give_up(job, str(error))


def _ask(task: Task, job: OpenJob, send: Callable[[Celery, str, str], None]) -> None:
    """The worker that did the last of one stage asks for the next; nothing is done twice, and the coordinator asks
    too.
    """
    with suppress(*CONNECTION_ERRORS):  # The coordinator sees the same on disk, and asks when the broker is back.
        send(task.app, job.job_id, job.manifest.identity)
