"""Fail, end or hold a process at a named step of its work if a test asks for that; otherwise a call costs nothing.

LK_FAILPOINTS names a directory. Its folder `rules` holds JSON files, one for each rule: `name` (that of the file), `op`
("failpoint"), `pattern` (the step), `do`, `error`, `after`, `times`, `seconds`. `_happen` says what is done at a step.
The first `after` times that any process comes to the step pass, then it happens `times` times (null: always). A rule is
in force while its file is there. In the folder `hits`, NAME.reached has a line with the process id for each time that
it happened.
"""

import builtins
import errno
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_DIRECTORY = os.environ.get("LK_FAILPOINTS")


def failpoint(step: str) -> None:
    """Do what the rules of LK_FAILPOINTS say about `step`; nothing if LK_FAILPOINTS is not set."""
    if _DIRECTORY is not None:
        _meet(Path(_DIRECTORY), step)


def _meet(directory: Path, step: str) -> None:
    for path in sorted((directory / "rules").glob("*.json")):
        with suppress(FileNotFoundError):
            rule = json.loads(path.read_text())
            if rule["op"] == "failpoint" and rule["pattern"] == step and _due(directory, rule):
                _happen(rule, path)


def _due(directory: Path, rule: dict[str, Any]) -> bool:
    """Whether the rule is to happen this time; records that it does."""
    match = _counted(directory / "hits" / f"{rule['name']}.matches")
    if match <= rule["after"] or (rule["times"] is not None and match > rule["after"] + rule["times"]):
        return False
    _counted(directory / "hits" / f"{rule['name']}.reached")
    return True


def _counted(path: Path) -> int:
    """Append a line to a file that all processes share; which line it became says how often this happened."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        line = b"%10d\n" % os.getpid()
        os.write(handle, line)
        return os.lseek(handle, 0, os.SEEK_CUR) // len(line)
    finally:
        os.close(handle)


def _happen(rule: dict[str, Any], path: Path) -> None:
    match rule["do"]:
        case "error":  # An OSError of that name (ENOSPC: the disk is full), or a built-in exception.
            number = getattr(errno, rule["error"], None)
            raise (
                getattr(builtins, rule["error"])("a fault of the tests")
                if number is None
                else OSError(number, os.strerror(number))
            )
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "abort":
            os.abort()
        case "sleep":
            time.sleep(rule["seconds"])
        case "wait":  # Until the rule is taken away.
            while path.exists():
                time.sleep(0.005)
