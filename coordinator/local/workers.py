"""Run worker processes as children: watch them, start them again when they die, stop them with the coordinator."""

import contextlib
import os
import socket
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import redis

from shared.broker import lease
from shared.broker.connection import connect
from shared.errors import WorkerFailed
from shared.messages.tasks import QUERY_QUEUE, QUEUES
from shared.processes.own import module_command
from shared.processes.stage import ending
from shared.settings import PARENT_PIPE, Settings, without_settings

# Names of workers that end with the command that started them begin so: no other command should rely on one.
CHILD_PREFIX = "own-"
_STOP_SECONDS = 15.0
_QUICK_DEATHS = 5
_QUICK_SECONDS = 60.0
_LOG_LINES = 12


def worker_command(
    roles: list[str],
    name: str,
    loglevel: str | None = None,
    query_threads: int | None = None,
    query_queue: str = QUERY_QUEUE,
) -> list[str]:
    """The command line of a worker process for `roles`, under the node name `name`; it takes queries of `query_queue`.

    It does one task at a time. A worker only for queries answers `query_threads` of them at once (None: one for each
    core), and sends no events and logs little: both would double its latency.
    """
    quiet = roles == ["query"]
    command = module_command("workers")
    queues = [query_queue if role == "query" else QUEUES[role] for role in roles]
    command += ["--queues", ",".join(queues), "--name", node_name(name)]
    command += ["--threads", str(query_threads or os.cpu_count() or 1) if quiet else "1"]
    command += ["--loglevel", loglevel or ("WARNING" if quiet else "INFO")]
    return command if quiet else [*command, "--events"]


def node_name(name: str) -> str:
    """The name of a worker on this host, as Celery, Flower and leases show it."""
    return f"{name}@{socket.gethostname()}"


def flower_command(address: str, port: int) -> list[str]:
    """The command line of Flower with our columns."""
    configuration = Path(__file__).parent / "flowerconfig.py"
    command = module_command("workers.tasks.flower", f"--conf={configuration}")
    return [*command, f"--address={address}", f"--port={port}"]


@dataclass(slots=True)
class _Child:
    role: str
    name: str
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    deaths: "deque[float]" = field(default_factory=lambda: deque(maxlen=_QUICK_DEATHS))


class LocalWorkers:
    """Worker processes of this machine, as children. Use as a context manager; call `watch()` every second or so."""

    def __init__(
        self, roles: list[str], settings: Settings, directory: Path, stop_seconds: float = _STOP_SECONDS
    ) -> None:
        """`roles` may name one role several times. `directory` takes the logs. One that has not stopped so many seconds
        after it was told to is killed."""
        # They take the queries of all: what a person's workers hold, who set it for them, is not theirs.
        self._settings = replace(settings, shards=None)
        self._directory, self._stop_seconds = directory, stop_seconds
        self._logs = directory / "logs"
        self._logs.mkdir(exist_ok=True)
        pid = os.getpid()
        self._children = [
            _Child(role, f"{CHILD_PREFIX}{role}{number}-{pid}", self._logs / f"{role}{number}.log")
            for number, role in enumerate(roles, 1)
        ]
        # Children hold the reading end; when this process ends in any way, they read the end of the file and stop.
        self._read_end, self._write_end = os.pipe()

    def __enter__(self) -> Self:
        for child in self._children:
            self._start(child)
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    @property
    def nodes(self) -> list[str]:
        """The node names of the workers, in the order of the roles given."""
        return [node_name(child.name) for child in self._children]

    def _start(self, child: _Child) -> None:
        environment = without_settings(os.environ) | self._settings.to_environment()
        environment[PARENT_PIPE] = str(self._read_end)
        with open(child.log, "ab") as log:
            child.process = subprocess.Popen(
                worker_command([child.role], child.name, query_threads=self._settings.query_threads),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._directory,  # Their settings come from the environment, and from no lookalike.toml.
                env=environment,
                pass_fds=[self._read_end],
                start_new_session=True,  # Ctrl-C reaches only the coordinator, which stops them in order.
            )

    def watch(self) -> list[str]:
        """Start dead workers again and free their leases; returns a sentence for each death.

        Raises WorkerFailed when one keeps dying: five times within a minute.
        """
        sentences = []
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            code = child.process.returncode
            cause = ending(code)
            now = time.monotonic()
            child.deaths.append(now)
            if len(child.deaths) == _QUICK_DEATHS and now - child.deaths[0] < _QUICK_SECONDS:
                raise WorkerFailed(
                    f"The {child.role} worker died {_QUICK_DEATHS} times within a minute ({cause}). "
                    f"The end of its log, {child.log}:\n{_tail(child.log)}"
                )
            sentences.append(f"The {child.role} worker ended with {cause}; started it anew.")
            self._free_leases(child.name)
            self._start(child)
        return sentences

    def _free_leases(self, name: str) -> None:
        """Its leases would end by themselves, but the death was seen here, so no worker has to wait for that."""
        with (
            contextlib.suppress(redis.exceptions.RedisError),
            connect(self._settings) as client,
        ):
            lease.release_owner(client, node_name(name))

    def stop(self) -> None:
        """Stop all workers within a batch, and kill them after `stop_seconds` at the latest: no commit is harmed."""
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + self._stop_seconds
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for end in (self._read_end, self._write_end):
            with contextlib.suppress(OSError):
                os.close(end)


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"(it can't be read: {error})"
    return "\n".join(f"  {line}" for line in lines[-_LOG_LINES:])
