"""A bench for faults: one job, one broker with short timeouts, and processes started by hand that meet rules."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from coordinator.local.workers import worker_command
from shared.broker.connection import make_app
from shared.broker.lease import holders
from shared.broker.queues import send_copies, send_embed, send_merge
from shared.job.directory import JobDir
from shared.job.identity import known_as
from shared.job.index import builds
from shared.job.manifest import load_manifest
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.settings import Settings
from tests.integration.faults.faults import Fault, Faults
from tests.support.processes import QUICK, Process, environment, wait_until

CHUNK_SIZE, IMAGES = 10, 240


def bytes_of(job: JobDir) -> dict[str, str]:
    """The SHA-256 of each sealed file (embeddings, metadata, errors) of a job, by its name inside the job."""
    paths = [path for number in job.sealed_numbers() for path in job.sealed_files(number)]
    return {str(path.relative_to(job.path)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


class Bench:
    """A job of 240 photographs in one partition of 24 chunks, a broker with quick timeouts, and workers by hand.

    Workers have the light model unless they are given another environment. `faults` are the bench's own rules, which
    every process meets that is not given others: `faults=` takes a Faults, or what `Faults.environment` gives.
    """

    def __init__(
        self,
        url: str,
        photos: Path,
        job: OpenJob,
        start: Callable[..., Process],
        faults: Faults,
    ) -> None:
        self.url, self.photos, self.job, self.manifest, self._start = url, photos, job, job.manifest, start
        self.faults = faults
        self.env = environment(LOOKALIKE_BROKER_URL=url, LOOKALIKE_JOBS_ROOT=str(job.jobs_root), **QUICK)
        self.settings = Settings(
            broker_url=url, jobs_root=job.jobs_root, lease_seconds=2, visibility_timeout=5, chunk_size=CHUNK_SIZE
        )
        self.app = make_app(self.settings)
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.processes: list[Process] = []
        self._commits: dict[int, tuple[int, int]] = {}

    def start(
        self,
        *arguments: str | Path,
        command: list[str] | None = None,
        faults: Faults | Mapping[str, str] | None = None,
        **env: str,
    ) -> Process:
        """`lookalike ARGUMENTS`, with the light model and the rules of `faults`."""
        layer = self.faults if faults is None else faults
        extra = layer.environment(light=True) if isinstance(layer, Faults) else dict(layer)
        process = self._start(*arguments, command=command, env=self.env | extra | env)
        self.processes.append(process)
        return process

    def begin_worker(
        self, *roles: str, name: str | None = None, faults: Faults | Mapping[str, str] | None = None, **env: Any
    ) -> Process:
        """A worker, without waiting until it is ready: what `lookalike worker` becomes, half a second sooner."""
        command = worker_command([*roles], name or "-".join(roles), "INFO")
        return self.start(command=command, faults=faults, **env)

    def worker(
        self, *roles: str, name: str | None = None, faults: Faults | Mapping[str, str] | None = None, **env: str
    ) -> Process:
        """A worker that is ready. Several start faster side by side: `begin_worker` each, then `ready` them all."""
        (worker,) = self.ready(self.begin_worker(*roles, name=name, faults=faults, **env))
        return worker

    def ready(self, *workers: Process) -> tuple[Process, ...]:
        for worker in workers:
            wait_until(lambda worker=worker: is_ready(worker), "the worker is ready")
        return workers

    def coordinator(self, *options: str, faults: Faults | Mapping[str, str] | None = None) -> Process:
        """`lookalike index PHOTOS JOB`."""
        return self.start("index", self.photos, self.job.path, *options, faults=faults)

    @property
    def identity(self) -> str:
        """That of the job as it is on disk: a test may have copied another one there."""
        return load_manifest(self.job).identity

    @property
    def known_as(self) -> str:
        """What the job's leases are kept under."""
        return known_as(self.job.job_id, self.identity)

    def ask(self, partition: int = 0) -> None:
        send_embed(self.app, self.job.job_id, self.identity, partition, self.manifest.partition_count)

    def ask_copies(self) -> None:
        send_copies(self.app, self.job.job_id, self.identity)

    def ask_merge(self) -> None:
        send_merge(self.app, self.job.job_id, self.identity)

    def drop_messages(self) -> None:
        """Drop what killed workers had in hand, which Redis would give to others at a moment of its own."""
        self.redis.delete("unacked", "unacked_index")

    def committed(self, partition: int = 0) -> list[int]:
        return self.job.chunk_numbers(partition)

    def commit_times(self, partition: int = 0) -> dict[int, tuple[int, int]]:
        """File number and time of each committed chunk: another one of either says that it was written again."""
        found = {}
        for number in self.committed(partition):
            with suppress(FileNotFoundError):  # The partition may be sealed this moment.
                stat = self.job.chunk(partition, number).stat()
                found[number] = (stat.st_ino, stat.st_mtime_ns)
        return found

    def holder(self, what: int | str = 0) -> str | None:
        """The node name of who holds the lease on a partition, or on COPIES or MERGE."""
        held = holders(self.redis, self.known_as)
        return next((holder.owner for holder in held if holder.what == str(what)), None)

    def sealed(self, partition: int = 0) -> bool:
        return ledger.is_sealed(self.job, partition)

    def sealed_as(self, undisturbed: Mapping[str, str]) -> None:
        """Wait until the partition is sealed and tidied up, and no one works on it; then compare its bytes."""
        self.until(
            lambda: self.sealed() and not self.job.chunk_dir(0).exists() and self.holder() is None,
            "the partition is sealed and nobody works on it",
        )
        assert bytes_of(self.job) == undisturbed
        assert not self.tracebacks(), self.tracebacks()[0][:4000]

    def tracebacks(self) -> list[str]:
        """The logs that hold a traceback, from there on."""
        logs = [process.output for process in self.processes]
        return [log[log.index("Traceback") :] for log in logs if "Traceback" in log]

    def promoted(self) -> str | None:
        """The build that CURRENT names, every file of it checked; None when there is no CURRENT."""
        info = builds.current_info(self.job)
        if info is None:
            return None
        builds.check_files(self.job, info, checksums=True)
        return info.build

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """`wait_until`, and all the while no committed chunk may be written again."""

        def look() -> Any:
            now = self.commit_times()
            for number in self._commits.keys() & now.keys():
                assert self._commits[number] == now[number], f"chunk {number} was written again"
            self._commits |= now
            return condition()

        return wait_until(look, what)

    def reached(self, fault: Fault, times: int = 1) -> Fault:
        """`fault`, once it has happened so often."""
        self.until(lambda: fault.reached >= times, f"fault {fault.name} has happened {times} times")
        return fault

    def at(self, fault: Fault) -> Process:
        """The process that met `fault`, awaited."""
        pid = self.reached(fault).pids[-1]
        return next(process for process in self.processes if process.popen.pid == pid)

    def free(self, what: int | str = 0) -> None:
        """Wait until no one holds the lease on a partition, or on COPIES or MERGE."""
        self.until(lambda: self.holder(what) is None, f"nobody holds the lease on {what}")


def is_ready(worker: Process) -> bool:
    if worker.popen.poll() is not None:
        raise AssertionError(f"The worker ended before it was ready:\n{worker.output[-4000:]}")
    return "ready." in worker.output
