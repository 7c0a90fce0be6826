"""Define the task of the merge role, thin around the stage `build.merge`."""

from typing import Any

from celery import Task, shared_task

from shared.broker.lease import MERGE
from shared.job.opened import open_job
from shared.messages.tasks import MERGE_TASK, MergeJob
from shared.processes.control import Control
from workers.tasks.leased import leased, progress_events, received
from workers.tasks.runtime import Runtime


@shared_task(name=MERGE_TASK, bind=True, ignore_result=True, max_retries=None)
def merge_job(task: Task, table: dict[str, Any]) -> str:
    """Build, measure and promote the index of a job whose partitions are all sealed; returns a summary for Flower."""
    from workers.merge import build

    runtime: Runtime = task.app.lookalike
    message = received(MergeJob.from_json, table)
    shown = str(task.request.argsrepr or message)
    with (
        leased(task, message.known_as, MERGE, shown) as lease,
        progress_events(task) as report,
    ):
        job = runtime.job(message.job, message.identity)
        control = Control(lambda: not runtime.stopping.is_set(), lease.held, report)
        info = build.merge(open_job(job), runtime.settings, control)
    return f"{info.type} · {info.ntotal:,} embeddings · {info.recall_text} · {info.p50_ms:.2f} ms"
