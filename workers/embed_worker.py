"""The embed role: a thin Celery task around the stage `embedding.embed_partition`."""

import time
from contextlib import suppress
from typing import Any

from celery import Task, shared_task
from celery.worker import state

from shared.broker import CONNECTION_ERRORS
from shared.errors import MessageError
from shared.manifest import load_manifest
from shared.messages import EMBED_TASK, EmbedPartition
from shared.queues import send_merge
from workers.leased_task import leased, progress_events, refuse
from workers.runtime import Runtime


@shared_task(name=EMBED_TASK, bind=True, ignore_result=True, max_retries=None)
def embed_partition(task: Task, table: dict[str, Any]) -> str:
    """Embed what is missing of one partition and seal it; returns a summary for Flower."""
    # Imported here: TensorFlow and OpenCV are for the process that embeds, not for each that knows the task's name.
    from workers import embedding
    from workers.loaded_models import loaded_embedder

    runtime: Runtime = task.app.lookalike
    try:
        message = EmbedPartition.from_json(table)
    except MessageError as error:
        refuse(error)
    shown = str(task.request.argsrepr or message)
    with (
        leased(task, message.job, message.partition, shown) as lease,
        progress_events(task) as report,
    ):
        job = runtime.job(message.job)
        manifest = load_manifest(job)
        if message.partition >= manifest.partition_count:
            refuse(
                MessageError(f"{message.job} has {manifest.partition_count} partitions, none is {message.partition}.")
            )
        started = time.monotonic()
        seal = embedding.embed_partition(
            job,
            manifest,
            manifest.partition(message.partition),
            loaded_embedder(manifest.model, job.model_dir, runtime.settings.batch_size),
            threads=runtime.decode_threads,
            keep_going=lambda: not runtime.stopping.is_set() and task.request.id not in state.revoked,
            may_commit=lease.held,
            report=report,
        )
        seconds = time.monotonic() - started
    if len(job.sealed_numbers()) == manifest.partition_count:
        _ask_for_merge(task, job.job_id)
    return f"sealed · {seal.embedded:,} embedded · {seal.failed:,} failed · {embedding.duration(seconds)}"


def _ask_for_merge(task: Task, job_id: str) -> None:
    """Whoever seals the last partition asks; the merge does nothing twice, and the coordinator asks too."""
    with suppress(*CONNECTION_ERRORS):  # The coordinator sees the same on disk, and asks when the broker is back.
        send_merge(task.app, job_id)
