"""Run a command on a job to its end, or kill it on the way, alone or with every process that it started."""

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import kill
from pathlib import Path
from typing import Final

from benchmarks.life.plan import Kill
from benchmarks.support.processes import LOOKALIKE, children_of

_END_SECONDS: Final = 300.0
_SAID: Final = 1_500


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its status, None where it was killed, its seconds, and the end of what it said."""

    status: int | None
    seconds: float
    said: str


Arguments = Sequence[str | Path]


def run(
    arguments: Arguments, env: Mapping[str, str], log: Path, killed_after: float | None = None, how: Kill | None = None
) -> Ended:
    """Run `lookalike ARGUMENTS` to its end; or kill it as `how` says after `killed_after` seconds, if it runs still.

    What it says is added to `log`.
    """
    with open(log, "ab") as file:
        begun = file.tell()
        started = time.monotonic()
        process = subprocess.Popen(
            [LOOKALIKE, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(env)
        )
    status: int | None
    try:
        status = process.wait(_END_SECONDS if killed_after is None else killed_after)
    except subprocess.TimeoutExpired:
        for pid in [process.pid, *(_below(process.pid) if how is None or how.whole_machine else [])]:
            with suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
        process.wait()
        status = None
    seconds = time.monotonic() - started
    with open(log, "rb") as file:
        file.seek(begun)
        return Ended(status, seconds, file.read().decode(errors="replace")[-_SAID:])


def _below(pid: int) -> list[int]:
    """The processes that one has started, and those that they have."""
    found: list[int] = []
    for child in children_of(pid):
        found += [child, *_below(child)]
    return found
