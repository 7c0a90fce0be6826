"""Define the tasks of the merge role, thin around `build.merge`, `shards.fill_shard` and `find_neighbours`."""

import logging
from typing import TYPE_CHECKING, Any

from celery import Task, shared_task

from shared.broker.lease import MERGE, neighbours_lease, shard_lease
from shared.broker.queues import send_merge, send_shard
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.messages.duplicates import FindNeighbours
from shared.messages.tasks import MERGE_TASK, NEIGHBOURS_TASK, SHARD_TASK, FillShard, MergeJob
from shared.processes.control import Control
from workers.duplicates.kept_open import KeptOpen
from workers.tasks.leased import leased, progress_events, received
from workers.tasks.runtime import Runtime

if TYPE_CHECKING:
    from workers.duplicates.neighbours import NeighbourSearch
    from workers.merge.shards import ShardsWanted

log = logging.getLogger("lookalike.worker")
_searches: "KeptOpen[NeighbourSearch]" = KeptOpen()


@shared_task(name=MERGE_TASK, bind=True, ignore_result=True, max_retries=None)
def merge_job(task: Task, table: dict[str, Any]) -> str:
    """Build, measure and promote the index of a job whose partitions are all sealed; returns a summary for Flower.

    Of an index of shards it trains what they are filled from and asks for each shard that is missing; the task that
    fills the last of them asks for the merge again.
    """
    from workers.merge import build
    from workers.merge.shards import ShardsWanted

    runtime: Runtime = task.app.lookalike
    message = received(MergeJob.from_json, table)
    shown = str(task.request.argsrepr or message)
    with (
        leased(task, message.known_as, MERGE, shown) as lease,
        progress_events(task) as report,
    ):
        job = open_job(runtime.job(message.job, message.identity))
        control = Control(lambda: not runtime.stopping.is_set(), lease.held, report)
        try:
            info = build.merge(job, runtime.settings, control, elsewhere=True)
        except ShardsWanted as wanted:
            _ask_for_shards(task, job, wanted)
            return str(wanted)
    return f"{info.type} · {info.ntotal:,} embeddings · {info.recall_text} · {info.p50_ms:.2f} ms"


@shared_task(name=SHARD_TASK, bind=True, ignore_result=True, max_retries=None)
def fill_shard(task: Task, table: dict[str, Any]) -> str:
    """Fill one shard of a build; returns a summary for Flower. After the last one it asks for the merge."""
    from workers.merge import shards

    runtime: Runtime = task.app.lookalike
    message = received(FillShard.from_json, table)
    shown = str(task.request.argsrepr or message)
    with (
        leased(task, message.known_as, shard_lease(message.shard), shown) as lease,
        progress_events(task) as report,
    ):
        job = open_job(runtime.job(message.job, message.identity))
        control = Control(lambda: not runtime.stopping.is_set(), lease.held, report)
        try:
            left = shards.fill_shard(job, JobFiles.of(job, runtime.settings), message.build, message.shard, control)
        except shards.Superseded as reason:
            log.info("%s: not filled: %s.", shown, reason)
            return f"not filled: {reason}"
        if not left:
            send_merge(task.app, job.job_id, job.manifest.identity)
    return "full, the last one" if not left else f"full, {len(left)} to come"


@shared_task(name=NEIGHBOURS_TASK, bind=True, ignore_result=True, max_retries=None)
def find_neighbours(task: Task, table: dict[str, Any]) -> str:
    """Find the neighbours of the images of one partition by the job's index; returns a summary for Flower."""
    from workers.duplicates.neighbours import NeighbourSearch
    from workers.duplicates.neighbours import find_neighbours as find_neighbours_of

    runtime: Runtime = task.app.lookalike
    message = received(FindNeighbours.from_json, table)
    shown = str(task.request.argsrepr or message)
    with (
        leased(task, message.known_as, neighbours_lease(message.partition), shown) as lease,
        progress_events(task) as report,
    ):
        job = open_job(runtime.job(message.job, message.identity))
        if not job.holds(message.partition):
            return "replaced by a compaction"  # An extra message, of before that.
        control: Control[float] = Control(
            lambda: not runtime.stopping.is_set(), lease.held, lambda share: report(f"neighbours · {share:.0%}")
        )
        files = JobFiles.of(job, runtime.settings)
        try:
            search = _searches.of(NeighbourSearch.key(job), lambda: NeighbourSearch.open(job, files))
            path = find_neighbours_of(job, search, message.partition, control)
        finally:
            _searches.rest()
    return f"neighbours in {path.name}"


def _ask_for_shards(task: Task, job: OpenJob, wanted: "ShardsWanted") -> None:
    filling = wanted.filling
    for number in filling.missing:
        send_shard(task.app, job.job_id, job.manifest.identity, filling.build, number, len(filling.ranges))
