"""The lock under which a job is created or changed: a file lock, or in a store an object that its holder renews."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from shared.errors import JobBusy, StoreError
from shared.job.bundle.facts import refuse_bundle
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.storage import files
from shared.storage.lock import open_locked

_CREATED = (
    "Another process is listing the images of {} right now, or importing its vectors: wait until it shows its "
    "progress, then run the same command to watch along."
)
_CHANGED = "Another process is changing {} right now: wait until it has ended, then run the same command again."
_BUSY_SECONDS = 0.2
RENEW_SECONDS = 15.0
STALE_SECONDS = 60.0
"""The age from which a lock with a silent holder no longer keeps others out, by the clocks of store and machine."""


@contextmanager
def store_lock(job: JobDir, busy: str = _CREATED) -> Iterator[None]:
    """Keep every other coordinator from creating a job in a store; raises JobBusy when one is doing it.

    A store knows no locks that end with their holder, so one that was killed keeps others out for a minute, but on its
    own machine for no longer than it lives. If a store has no conditional writes, two that begin at the same moment may
    both continue: the lists of one source are the same from every coordinator.
    """
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "token": uuid.uuid4().hex}
    text = (json.dumps(mine, indent=2) + "\n").encode()
    _take(job, mine, text, busy)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW_SECONDS):
            with suppress(StoreError):  # Creating the job meets the same error of the store, and reports it.
                files.write_bytes(job.creation_lock, text)

    renewing = threading.Thread(target=renew, name="creation lock", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        with suppress(OSError):
            if _holder(job) == mine:
                job.creation_lock.unlink(missing_ok=True)


def _take(job: JobDir, mine: dict[str, object], text: bytes, busy: str) -> None:
    for _ in range(2):
        files.write_bytes(job.creation_lock, text, keep_first=True)
        holder = _holder(job)
        if holder == mine:
            return
        if not _is_over(job, holder):
            break
        job.creation_lock.unlink(missing_ok=True)
    raise JobBusy(f"{busy.format(job.path)} If it was killed, wait for {STALE_SECONDS:g} seconds.")


def _holder(job: JobDir) -> object:
    try:
        return json.loads(job.creation_lock.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _is_over(job: JobDir, holder: object) -> bool:
    """Whether the holder of a lock is gone."""
    if not isinstance(holder, dict):
        return True
    pid = holder.get("pid")
    if holder.get("host") == socket.gethostname() and isinstance(pid, int) and not _lives(pid):
        return True
    try:
        return time.time() - job.creation_lock.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return True


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def creation_lock(job: JobDir, busy: str = _CREATED) -> Iterator[None]:
    """Keep every other coordinator from creating or changing `job`; raises JobBusy when one is doing it.

    `busy` is the sentence then, with {} for the job.
    """
    if job.in_store:  # It knows no locks that end with their holder.
        with store_lock(job, busy):
            yield
        return
    # Drive mounts know no locks. The path files of one source are the same from every coordinator.
    locked = open_locked(job.creation_lock)
    if locked is None:
        raise JobBusy(busy.format(job.path))
    handle, _ = locked
    try:
        yield
    finally:
        job.creation_lock.unlink(missing_ok=True)
        os.close(handle)
        for directory in (job.paths_dir, job.path):
            with suppress(OSError):
                directory.rmdir()  # Only if it is empty: a source without images leaves nothing behind.


def is_kept_out(job: JobDir) -> bool:
    """Whether the lock that this process holds on a job keeps others out: not on a file system without locks, and not
    for sure in a store."""
    if job.in_store:
        return False
    again = open_locked(job.creation_lock)
    if again is None:
        return True
    os.close(again[0])
    return False


@contextmanager
def changing(job: JobDir, patience: float = 0.0) -> Iterator[OpenJob]:
    """Open a job that is to be changed, while every other process is kept from changing it.

    Raises JobBusy when one is changing it, and still is after `patience` seconds; and as `open_job` does. A file system
    without locks keeps none out: there the number of a change does, which only one of two can write.
    """
    job.require()
    deadline = time.monotonic() + patience
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(kept_from_changing(job))
                break
            except JobBusy:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_BUSY_SECONDS)
        opened = open_job(job)
        refuse_bundle(opened.path, opened.manifest.bundle, "changed")
        yield opened


@contextmanager
def kept_from_changing(job: JobDir) -> Iterator[None]:
    """Keep every other process from changing a job; raises JobBusy when one is doing it."""
    with creation_lock(job, _CHANGED):
        yield
