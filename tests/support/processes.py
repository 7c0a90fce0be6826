"""Real processes for tests: lookalike commands, brokers, waiting for what they do."""

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

from shared.settings import without_settings
from tests.support.once import RUN_CACHE

LOOKALIKE = str(Path(sys.executable).with_name("lookalike"))
# Longer than anything here takes on a machine that does ten other things: what fails does so by its own assertion.
PATIENCE_SECONDS = 240.0
# Short timeouts make recovery quick to see; their ratios are those of the defaults.
QUICK = {"LOOKALIKE_LEASE_SECONDS": "2", "LOOKALIKE_VISIBILITY_TIMEOUT": "5"}
# Below those that Linux gives to whoever names none, or connects.
_PORTS = (12_000, 32_000)


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without any setting of lookalike, plus `extra`.

    Processes start by the hundred here, so what one has compiled or exported the next may use.
    """
    kept = {variable: value for variable, value in os.environ.items() if variable != "PYTHONDONTWRITEBYTECODE"}
    shared = {"LOOKALIKE_CACHE_DIR": os.environ[RUN_CACHE], "TF_CPP_MIN_LOG_LEVEL": "2", "COLUMNS": "200"}
    return without_settings(kept) | shared | extra


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """The first true value of `condition`, polled; fails the test when it stays false for `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"Waited {seconds:g} s in vain until {what}.")


class Process:
    """A process under test, its output in a file; killed at the end of the test whatever happens."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str], **options: Any) -> None:
        self.log = log
        with open(log, "ab") as file:
            self.popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=env, **options
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.popen.args!r} did not end within {seconds:g} s:\n{self.output[-4000:]}"
            ) from None

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.popen.send_signal(number)

    def stop(self) -> None:
        """SIGTERM, for the end of a test: one that does not end then hangs, which is an error of its own."""
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.wait(60)
            finally:
                self.popen.kill()
                self.popen.wait()


def run(
    *arguments: str | Path, env: dict[str, str] | None = None, timeout: float = PATIENCE_SECONDS
) -> "subprocess.CompletedProcess[str]":
    """Run `lookalike ARGUMENTS` to its end."""
    return subprocess.run(
        [LOOKALIKE, *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=env or environment(),
        timeout=timeout,
        check=False,
    )


def free_port() -> int:
    """A port that no other process of this run is given, and that the system gives nobody who names none."""
    with open(Path(os.environ[RUN_CACHE]) / "port", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        port = int(file.read() or random.randrange(*_PORTS))
        while not _is_free(port):
            port = port + 1 if port + 1 < _PORTS[1] else _PORTS[0]
        file.truncate(0)
        file.write(str(port + 1))
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def valkey_binary() -> str:
    from coordinator.local.broker import server_binary

    return str(server_binary())


@contextmanager
def redis_server(binary: str, directory: Path, port: int) -> Iterator[Process]:
    """A Redis or Valkey server on a loopback port, keeping nothing."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
    server = Process(command, directory / "server.log", dict(os.environ))
    try:
        wait_until(lambda: answers(port), "the Redis server answers")
        yield server
    finally:
        server.stop()


def answers(port: int) -> bool:
    try:
        with redis.Redis(port=port, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.exceptions.RedisError:
        return False


def children_of(pid: int) -> list[int]:
    """The child processes of `pid` that are running now."""
    return [child for child, parent, _ in _running() if parent == pid]


def commands_with(text: str) -> list[tuple[int, str]]:
    """Running processes (not zombies) whose command line holds `text`."""
    return [(pid, command) for pid, _, command in _running() if text in command]


def _running() -> Iterator[tuple[int, int, str]]:
    """The processes that run, and are no zombies: their ids, their parents' and their command lines."""
    if sys.platform != "linux":
        listing = subprocess.run(
            ["ps", "-eww", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split(None, 3) for line in listing.splitlines()]
        yield from ((int(row[0]), int(row[1]), row[3]) for row in rows if len(row) == 4 and row[2][0] != "Z")
        return
    # Tests ask again and again, and a process of `ps` each time would take the time that they wait for.
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(folder.name)
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").rstrip()
            if state != "Z":
                yield pid, int(parent), command


def debian_redis() -> str | None:
    return shutil.which("redis-server")
