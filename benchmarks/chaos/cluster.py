"""Run the processes of a chaos run (a broker, workers by role, coordinators), and restart each when it has ended."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis

from benchmarks.support.processes import fields_of
from coordinator.local.broker import server_binary

WORKER_RESTART_SECONDS = 0.5
"""How soon a container's restart policy starts a worker again."""

TYPE_AGAIN_SECONDS = 1.0
"""How soon a person types the command of a coordinator again."""

_STOP_SECONDS = 30.0
_NO_BROKER = "No broker answers at"


@dataclass(slots=True)
class Member:
    """A process that is kept running: its command, its log, and its history.

    `worked` holds the moments (seconds since the epoch) at which it was first seen to work after a start or after it
    was frozen: a worker says that it is ready, a coordinator shows its first look or ends well, one that was frozen
    uses CPU time again.
    """

    name: str
    role: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str]
    again_after: float
    once: bool = False
    restart: bool = True
    popen: "subprocess.Popen[bytes] | None" = None
    done: bool = False
    frozen: bool = False
    worked: list[float] = field(default_factory=list)
    _start_at: float | None = 0.0
    _started: float = 0.0
    _log_from: int = 0
    _on_purpose: bool = False
    _awaited: bool = False
    _ticks: int | None = None

    @property
    def runs(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    @property
    def settled(self) -> bool:
        """Whether it runs and was not told to end: one that was told may still answer for a while."""
        return self.runs and not self._on_purpose

    @property
    def strikable(self) -> bool:
        """Whether it runs, was seen to work, and has recovered from every fault before."""
        return self.runs and not self.frozen and not self._on_purpose and not self._awaited

    @property
    def state(self) -> str:
        if not self.runs:
            return "done" if self.done else "down"
        return "frozen" if self.frozen else "up" if not self._awaited else "starting"

    def output(self) -> str:
        """What it has written since its last start."""
        with open(self.log, "rb") as file:
            file.seek(self._log_from)
            return file.read().decode(errors="replace")

    def kill(self, number: int) -> None:
        """Send a signal that should end it."""
        assert self.popen is not None
        self._on_purpose = True
        self.popen.send_signal(number)

    def freeze(self) -> None:
        assert self.popen is not None
        self.frozen = True
        self.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self.frozen and self.runs and self.popen is not None:
            self._ticks = _cpu_ticks(self.popen.pid)
            self._awaited = True
            self.popen.send_signal(signal.SIGCONT)
        self.frozen = False

    def tick(self, now: float, broker_out_since: Callable[[float], bool]) -> str | None:
        """Check on it and restart it; returns a sentence when it has ended wrongly."""
        complaint = None
        if self.popen is not None and not self.runs:
            complaint = self._ended(now, broker_out_since)
        elif self._awaited and self._is_at_work():
            self.worked.append(now)
            self._awaited, self._ticks = False, None
        if self._start_at is not None and now >= self._start_at:
            self._start(now)
        return complaint

    def _start(self, now: float) -> None:
        with open(self.log, "ab") as file:
            self._log_from = file.tell()
            self.popen = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(self.env)
            )
        self._start_at, self._started = None, now
        self._on_purpose, self._awaited, self._ticks = False, True, None

    def _ended(self, now: float, broker_out_since: Callable[[float], bool]) -> str | None:
        assert self.popen is not None
        status, on_purpose = self.popen.returncode, self._on_purpose
        self.popen, self.frozen, self._awaited = None, False, False
        if self.once and status == 0:
            self.done = True
            self.worked.append(now)
            return None
        self._start_at = now + self.again_after if self.restart else None
        self.done = not self.restart
        said = self.output()
        # A process that starts without a broker says so and ends: a person, or a container, tries again.
        if on_purpose or (status == 1 and _NO_BROKER in said and broker_out_since(self._started)):
            return None
        return f"{self.name} ended by itself with status {status}; the end of its log: {said[-1500:]!r}"

    def _is_at_work(self) -> bool:
        assert self.popen is not None
        if self._ticks is not None:
            return (_cpu_ticks(self.popen.pid) or 0) > self._ticks
        if self.once:  # Its second line is its first look.
            return self.output().count("\n") >= 2
        return self.role == "query" or "ready." in self.output()

    def stop(self) -> None:
        """End it for good."""
        self._start_at = None
        if self.popen is None or not self.runs:
            return
        self.popen.send_signal(signal.SIGCONT)
        self.popen.terminate()
        try:
            self.popen.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


def _cpu_ticks(pid: int) -> int | None:
    try:
        return fields_of(Path(f"/proc/{pid}/stat").read_text())[2]
    except OSError:
        return None


class Broker:
    """A Valkey server on a loopback port that keeps every command on its disk, so that it can come back with its data.

    `out` is True from a fault until it answers again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._data = folder, folder / "data"
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port: int = listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.out = True
        self.client = redis.Redis(port=self.port, decode_responses=True, socket_timeout=0.5, socket_connect_timeout=0.5)
        self._popen: subprocess.Popen[bytes] | None = None
        self._down = True
        self._answered_again = 0.0

    def start(self, *, empty: bool = False) -> None:
        if empty:
            shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(parents=True, exist_ok=True)
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]
        with open(self._folder / "broker.log", "ab") as log:
            self._popen = subprocess.Popen(
                [str(server_binary()), *options, "--dir", str(self._data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._down = False

    def kill(self) -> None:
        assert self._popen is not None
        self.out = self._down = True
        self._popen.kill()
        self._popen.wait()

    def freeze(self) -> None:
        assert self._popen is not None
        self.out = self._down = True
        os.kill(self._popen.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._popen is not None
        os.kill(self._popen.pid, signal.SIGCONT)
        self._down = False

    def cut_connections(self) -> None:
        """Close every connection but our own, those that wait for messages too."""
        self.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")  # type: ignore[no-untyped-call]
        self.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]

    def tick(self) -> None:
        if self.out and not self._down:
            try:
                self.out = not self.client.ping()
            except redis.exceptions.RedisError:
                return
            self._answered_again = time.time()

    def was_out_since(self, moment: float) -> bool:
        return self.out or self._answered_again >= moment

    def stop(self) -> None:
        self.client.close()
        if self._popen is not None and self._popen.poll() is None:
            os.kill(self._popen.pid, signal.SIGCONT)
            self._popen.kill()
            self._popen.wait()
