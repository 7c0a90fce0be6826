"""Measure seconds and memory for listing millions of paths and for sending the messages of their partitions.

python -m benchmarks.embed.listing list SOURCE JOB | dispatch JOB; prints JSON
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from coordinator.jobs.create import make_or_open
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.reconcile import Reconciler
from coordinator.local.broker import EmbeddedBroker
from shared.broker.connection import connect, make_app
from shared.broker.queues import queued_messages
from shared.errors import JobError
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.messages.tasks import EMBED_QUEUE
from shared.processes.memory import Peak
from shared.settings import Settings

_IN_A_FOLDER = 1_000
_REPEATS = 3


def write_list(path: Path, count: int) -> None:
    """A list file of `count` image paths that are as long as many are, a thousand in each folder."""
    with open(path, "w") as file:
        for number in range(count):
            file.write(f"/photos/{number // _IN_A_FOLDER:06d}/{number:09d}-as-the-camera-named-it.jpg\n")


def make_tree(root: Path, count: int) -> None:
    """`count` empty files named as images, a thousand in each folder."""
    root.mkdir()
    for first in range(0, count, _IN_A_FOLDER):
        folder = root / f"{first // _IN_A_FOLDER:06d}"
        folder.mkdir()
        # By names alone, below a folder that is open: half the time of whole paths.
        at = os.open(folder, os.O_RDONLY)
        for number in range(first, min(first + _IN_A_FOLDER, count)):
            os.close(os.open(f"{number:09d}.jpg", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=at))
        os.close(at)


def listing(source: str, job: JobDir) -> dict[str, Any]:
    """From the source to the path lists and the manifest of a new job."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    with Peak() as peak:
        job = make_or_open(source, job, Settings(), lambda count: None)
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "paths": job.listed,
        "partitions": job.partition_count,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 2),
        "peak_rss_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "peak_own_bytes": peak.bytes(),
        "load": round(os.getloadavg()[0], 2),
    }


def dispatch(job: JobDir) -> dict[str, Any]:
    """From a job of which nothing is done to a message for each of its partitions in the embedded broker."""
    job, runs = open_job(job), []
    with EmbeddedBroker(job.jobs_root) as broker:
        settings = Settings(broker_url=broker.url, jobs_root=job.jobs_root)
        with connect(settings) as client:
            for _ in range(_REPEATS):
                client.delete(EMBED_QUEUE)
                started = time.perf_counter()
                look = Reconciler(make_app(settings), client, ProgressReader(job)).look()
                seconds = time.perf_counter() - started
                sent = {str(message) for message in queued_messages(client, EMBED_QUEUE)}
                if look.broker_error is not None or len(sent) != job.partition_count:
                    raise JobError(
                        f"{len(sent)} of {job.partition_count} partitions were asked for ({look.broker_error})."
                    )
                runs.append(round(seconds, 3))
    return {"partitions": job.partition_count, "seconds": sorted(runs)[len(runs) // 2], "runs": runs}


def main(arguments: list[str]) -> None:
    """One of the two, in a process of its own."""
    if arguments[0] == "list":
        print(json.dumps(listing(arguments[1], JobDir.at(Path(arguments[2])))))
    else:
        print(json.dumps(dispatch(JobDir.at(Path(arguments[1])))))


if __name__ == "__main__":
    main(sys.argv[1:])
