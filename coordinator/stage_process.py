"""A stage of the workers in a process of its own: what it says, one JSON object a line, and why it ended."""

import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from shared.errors import LookalikeError, error_from

_LOG_LINES = 12
_ENDING_SECONDS = 5.0


def result_of(
    module: str,
    arguments: Sequence[str],
    told: Callable[[dict[str, Any]], None],
    *,
    what: str,
    request: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
    ended: type[LookalikeError] = LookalikeError,
) -> dict[str, Any]:
    """Run `python -m MODULE ARGUMENTS` and return what it says under "result"; the coordinator imports none of it.

    `request` is a JSON object on its standard input. Each other object that it says goes to `told`. Raises the error
    that it says under "error", and `ended` with its last words where it ended without a result, or was ended because it
    took more than `seconds`. `what` begins that sentence, as in "The evaluation of JOB".
    """
    # -P: nothing that lies in the working directory is taken for a module.
    command = [sys.executable, "-P", "-m", module, *arguments]
    deadline = None if seconds is None else time.monotonic() + seconds
    result: dict[str, Any] | None = None
    with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as asked:
        asked.write(json.dumps(request or {}).encode())
        asked.seek(0)
        child = subprocess.Popen(
            command,
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=log,
            env=None if environment is None else dict(environment),
            text=True,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the other.
        )
        try:
            assert child.stdout is not None
            lines = _lines(child.stdout)
            while (line := _next(lines, deadline)) is not None:
                said = _object(line, what)
                if "error" in said:
                    raise error_from(said["error"]["kind"], said["error"]["message"])
                if "result" in said:
                    result = said["result"]
                else:
                    told(said)
            if child.wait(_left(deadline)) == 0 and result is not None:
                return result
        except (TimeoutError, subprocess.TimeoutExpired):
            raise ended(f"{what} took longer than {seconds:g} s and was ended.{_last_words(log)}") from None
        finally:
            child.kill()
            with suppress(subprocess.TimeoutExpired):  # A process that waits for a dead mount dies when that answers.
                child.wait(_ENDING_SECONDS)
        raise ended(f"{what} ended with {_how(child.returncode)}.{_last_words(log) or ' It said nothing.'}")


def _object(line: str, what: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise LookalikeError(f"{what} said what is no JSON: {line[:200]!r}.")
    return said


def _lines(stream: IO[str]) -> "queue.SimpleQueue[str | None]":
    """What is said on `stream`, read by a thread of its own, so that nobody has to wait for it; None at its end."""
    said: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        with stream, suppress(OSError, ValueError):
            for line in stream:
                said.put(line)
        said.put(None)

    threading.Thread(target=read, name="reading a stage", daemon=True).start()
    return said


def _next(lines: "queue.SimpleQueue[str | None]", deadline: float | None) -> str | None:
    try:
        return lines.get(timeout=_left(deadline))
    except queue.Empty:
        raise TimeoutError from None


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    memory = ", as by a system that is out of memory" if name == "SIGKILL" else ""
    return f"exit status {code} ({name}{memory})"


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    tail = log.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join([" Its last words:", *(f"  {line}" for line in tail)]) if tail else ""
