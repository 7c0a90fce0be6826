"""Measure commands while they run: wall time, CPU seconds and peak memory of each worker (Linux)."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from shared.errors import UsageError, WorkerFailed
from shared.settings import without_settings

LOOKALIKE = str(Path(sys.executable).with_name("lookalike"))
REPOSITORY = Path(__file__).resolve().parents[2]
_PROC = Path("/proc")
_SAMPLE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process had used when it was last seen: CPU seconds (user and system) and the peak of its memory.

    `peak_own_bytes` is the most of what it held for itself, mapped files left out, whenever it was looked at.
    """

    role: str
    cpu_seconds: float
    peak_rss_bytes: int
    peak_own_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Measured:
    """A command that has ended well.

    `cpu_seconds` counts it and all workers that it waited for; `children` are its child processes as they were last
    seen, at most a tenth of a second before each ended.
    """

    wall_seconds: float
    cpu_seconds: float
    children: list[Usage]
    output: str


def require_linux() -> None:
    """Raise UsageError where there is no /proc to read CPU time and memory of other processes from."""
    if not (_PROC / "self" / "stat").is_file():
        raise UsageError("This benchmark reads CPU time and memory from /proc: run it on Linux.")


def environment() -> dict[str, str]:
    """This process's environment without any setting of lookalike."""
    return without_settings(os.environ) | {"COLUMNS": "200"}


def run_module(module: str, *arguments: str | Path, seconds: float | None = None) -> Any:
    """What a module of this repository prints as JSON; raises WorkerFailed with the end of its complaint.

    It is given `seconds` to end, after which it is killed, and that is its failure.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=REPOSITORY,
            env=environment(),
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise WorkerFailed(f"{module} did not end within {seconds:,.0f} s.") from None
    if done.returncode != 0:
        raise WorkerFailed(f"{module} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def begin(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start `command` where `log` is, its output added to that."""
    with open(log, "ab") as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=log.parent, env=environment()
        )


def measured(command: Sequence[str], log: Path) -> Measured:
    """Run `command` to its end and measure it; raises WorkerFailed with the end of its output when it fails."""
    started = time.perf_counter()
    process = begin(command, log)
    seen: dict[int, Usage] = {}
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(process.pid, seen, ended), daemon=True)
    watch.start()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    ended.set()
    watch.join()
    output = log.read_text(errors="replace")
    if process.returncode != 0:
        raise WorkerFailed(f"{' '.join(command)} ended with {process.returncode}:\n{output[-2000:]}")
    return Measured(wall, used.ru_utime + used.ru_stime, list(seen.values()), output)


def _watch(parent: int, seen: dict[int, Usage], ended: threading.Event) -> None:
    while not ended.wait(_SAMPLE_SECONDS):
        for pid in children_of(parent):
            if (usage := _usage(pid)) is not None:
                before = seen[pid].peak_own_bytes if pid in seen else 0
                seen[pid] = replace(usage, peak_own_bytes=max(before, usage.peak_own_bytes))


def children_of(parent: int, role: str | None = None, proc: Path = _PROC) -> list[int]:
    """The child processes of `parent` that run now, by the files in `proc`; with `role`, its workers of that role."""
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, of, _ = fields_of((entry / "stat").read_text())
            if of == parent and state not in "ZX" and (role is None or _role(entry) == role):
                found.append(int(entry.name))
        except OSError:  # It has ended meanwhile, maybe between the two files.
            continue
    return found


def own_memory(pid: int | str = "self") -> int:
    """Bytes that a process has in memory for itself; pages of mapped files, which the system takes back, left out."""
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise UsageError("This Linux does not say how much memory is a process's own: RssAnon came with kernel 4.5.")


def fields_of(stat: str) -> tuple[str, int, int]:
    """State, parent and clock ticks (user and system) from the text of /proc/PID/stat."""
    # The name of the command is in brackets, and may hold spaces and brackets itself.
    fields = stat[stat.rindex(")") + 1 :].split()
    return fields[0], int(fields[1]), int(fields[11]) + int(fields[12])


def role_of(arguments: Sequence[str]) -> str:
    """The queues that a worker of this command line consumes, else "other"."""
    for option, value in pairwise(arguments):
        if option == "--queues":
            return value
    return "other"


def _role(entry: Path) -> str:
    return role_of((entry / "cmdline").read_bytes().decode(errors="replace").split("\0"))


def _usage(pid: int) -> Usage | None:
    entry = _PROC / str(pid)
    try:
        _, _, ticks = fields_of((entry / "stat").read_text())
        status = (entry / "status").read_text()
        role = _role(entry)
    except OSError:
        return None
    memory = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in status.splitlines() if line.endswith(" kB")}
    # A process that has ended and was not waited for yet has no memory any more.
    if "VmHWM" not in memory:
        return None
    return Usage(role, ticks / os.sysconf("SC_CLK_TCK"), memory["VmHWM"], memory.get("RssAnon", 0))
