"""Killed and resumed: the embed worker twice and the coordinator once, in the middle of a run, with SIGKILL."""

import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.support.processes import LOOKALIKE, begin, children_of
from shared.errors import WorkerFailed
from shared.job.directory import JobDir
from shared.job.opened import open_job

# After which share of the chunks each is killed.
KILLS = (("embed worker", 0.2), ("embed worker", 0.45), ("coordinator", 0.7))
_POLL_SECONDS = 0.02
_GIVE_UP_SECONDS = 900.0


class Chunks:
    """The chunks of a job as they are seen on disk again and again; a chunk written twice is seen as two files."""

    def __init__(self, job: JobDir) -> None:
        self._job = job
        self._seen: dict[Path, set[tuple[int, int]]] = defaultdict(set)

    def look(self) -> int:
        """The number of chunks committed so far, those of sealed partitions included."""
        for partition in self._job.paths_numbers():
            for number in self._job.chunk_numbers(partition):
                path = self._job.chunk(partition, number)
                try:
                    status = path.stat()
                except FileNotFoundError:  # Sealed away this moment.
                    continue
                self._seen[path].add((status.st_ino, status.st_mtime_ns))
        return len(self._seen)

    @property
    def rewritten(self) -> int:
        """How many committed chunks were written again."""
        return sum(len(files) > 1 for files in self._seen.values())


class _Run:
    """A run of `lookalike index` that is killed and started again; whatever still runs is stopped at the end."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command, self._log = command, log
        self._coordinator = begin(command, log)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._coordinator.poll() is None:
            self._coordinator.terminate()
            self._coordinator.wait()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds while the coordinator runs."""
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        while not condition():
            if self._coordinator.poll() is not None:
                raise WorkerFailed(f"The run ended before it was to be killed:\n{self._end_of_log()}")
            if time.monotonic() > deadline:
                raise WorkerFailed(f"The run got no further in {_GIVE_UP_SECONDS:g} s:\n{self._end_of_log()}")
            time.sleep(_POLL_SECONDS)

    def kill_embed_worker(self) -> None:
        self.wait_until(lambda: bool(children_of(self._coordinator.pid, "embed")))
        for pid in children_of(self._coordinator.pid, "embed"):
            os.kill(pid, signal.SIGKILL)

    def kill_coordinator(self) -> None:
        """Kill it and run the same command again at once, while orphaned workers are still ending."""
        self._coordinator.kill()
        self._coordinator.wait()
        self._coordinator = begin(self._command, self._log)

    def finish(self, look: Callable[[], int]) -> None:
        """Wait for the end, looking on all the while; raises WorkerFailed when it is no good one."""
        while self._coordinator.poll() is None:
            look()
            time.sleep(_POLL_SECONDS)
        if self._coordinator.returncode != 0:
            raise WorkerFailed(
                f"The same command again ended with {self._coordinator.returncode}:\n{self._end_of_log()}"
            )

    def _end_of_log(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def resume_check(photos: Path, job: JobDir, undisturbed: JobDir, chunk_size: int, folder: Path) -> dict[str, Any]:
    """Run `lookalike index` into `job`, kill in the middle, run it again, and compare with the job `undisturbed`.

    Raises WorkerFailed when a process ends where it should not, or the run does not get on.
    """
    command = [LOOKALIKE, "index", str(photos), str(job.path), "--chunk-size", str(chunk_size)]
    chunks = Chunks(job)
    started = time.perf_counter()
    killed = []
    with _Run(command, folder / "resume.log") as run:
        run.wait_until(job.spec.is_file)
        job = open_job(job)
        total = sum(len(job.chunks(partition)) for partition in job.partitions)
        for what, share in KILLS:
            run.wait_until(partial(_at_least, chunks, share * total))
            since = time.perf_counter()
            if what == "coordinator":
                run.kill_coordinator()
            else:
                run.kill_embed_worker()
            before = chunks.look()
            run.wait_until(partial(_at_least, chunks, before + 1))
            seconds = round(time.perf_counter() - since, 1)
            killed.append({"killed": what, "chunks_committed": before, "seconds_to_next_commit": seconds})
        run.finish(chunks.look)
    return {
        "chunks": total,
        "chunk_size": job.manifest.chunk_size,
        "kills": killed,
        "committed_chunks_written_again": chunks.rewritten,
        "chunks_under_way_lost_at_most": len(killed),
        "embeddings_equal_byte_for_byte": _same_embeddings(job, undisturbed),
        "wall_seconds": round(time.perf_counter() - started, 1),
    }


def _at_least(chunks: Chunks, number: float) -> bool:
    return chunks.look() >= number


def _same_embeddings(one: JobDir, other: JobDir) -> bool:
    """Whether two jobs have the same sealed partitions with the same bytes in their files of embeddings."""
    numbers = one.sealed_numbers()
    return numbers == other.sealed_numbers() and all(
        one.img_emb(number).read_bytes() == other.img_emb(number).read_bytes() for number in numbers
    )
