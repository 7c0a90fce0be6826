"""Run a stage in a process of its own, which prints one JSON object a line, the last its result or error, and ends."""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

from shared.errors import LookalikeError, error_from_json, error_to_json
from shared.processes.own import module_command

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
    """Run `python -m MODULE ARGUMENTS` and return what it prints under "result"; the coordinator imports none of it.

    `request` is a JSON object on its standard input. Each other object that it prints goes to `told`. Raises as
    `speaking` does.
    """
    result: dict[str, Any] | None = None
    with speaking(
        module, arguments, what=what, request=request or {}, environment=environment, seconds=seconds, ended=ended
    ) as objects:
        for said in objects:
            if "result" in said:
                result = said["result"]
            else:
                told(said)
    assert result is not None
    return result


@contextmanager
def speaking(
    module: str,
    arguments: Sequence[str],
    *,
    what: str,
    request: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
    ended: type[LookalikeError] = LookalikeError,
    patience: float = 0.0,
    keep: Sequence[int] = (),
    on_exit: Callable[[int], str] = lambda signal: "",
) -> Iterator[Iterator[dict[str, Any]]]:
    """Run `python -m MODULE ARGUMENTS` during the block, and yield the objects that it prints as they come.

    Raises the error that it prints under "error". Raises `ended` with its last lines if it ended without an object that
    holds a "result", or was ended because it took more than `seconds`; `what` begins that sentence, as in "The
    evaluation of JOB". If a signal ended it, `on_exit` gets the number of the signal and returns what else is known.

    `request` is a JSON object on its standard input; without a request, standard input stays open until the end of the
    block, and the process has to end when it closes: it has `patience` seconds, and then is killed. The open files
    `keep` stay open in it.
    """
    command = module_command(module, *arguments)
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        asked: IO[bytes] | int = subprocess.PIPE
        if request is not None:
            asked = stack.enter_context(tempfile.TemporaryFile())
            asked.write(json.dumps(request).encode())
            asked.seek(0)
        child = subprocess.Popen(
            command,
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=log,
            env=None if environment is None else dict(environment),
            text=True,
            pass_fds=tuple(keep),
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the other.
        )
        try:
            yield _said(child, log, what, seconds, ended, on_exit)
        finally:
            _end(child, patience)


def _end(child: "subprocess.Popen[str]", patience: float) -> None:
    try:
        if child.stdin is not None:
            with suppress(BrokenPipeError):
                child.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            child.wait(patience)
    finally:  # A second Ctrl-C ends the patience.
        child.kill()
        with suppress(subprocess.TimeoutExpired):  # A process that waits for a dead mount ends when that answers.
            child.wait(_ENDING_SECONDS)


def _said(
    child: "subprocess.Popen[str]",
    log: IO[bytes],
    what: str,
    seconds: float | None,
    ended: type[LookalikeError],
    on_exit: Callable[[int], str],
) -> Iterator[dict[str, Any]]:
    assert child.stdout is not None
    deadline = None if seconds is None else time.monotonic() + seconds
    lines, has_result = _lines(child.stdout), False
    try:
        while (line := _next(lines, deadline)) is not None:
            said = _object(line, what, ended)
            if "error" in said:
                raise error_from_json(said["error"])
            has_result = has_result or "result" in said
            yield said
        if child.wait(_left(deadline)) == 0 and has_result:
            return
    except (TimeoutError, subprocess.TimeoutExpired):
        raise ended(f"{what} took longer than {seconds:g} s and was ended.{_last_words(log)}") from None
    code = child.returncode
    memory = ", as by a system that is out of memory" if code == -signal.SIGKILL else ""
    words = (on_exit(-code) if code < 0 else "") + _last_words(log)
    raise ended(f"{what} ended with {ending(code)}{memory}.{words or ' It said nothing.'}")


def _object(line: str, what: str, ended: type[LookalikeError]) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise ended(f"{what} said what is no JSON: {line[:200]!r}.")
    return said


def _lines(stream: IO[str]) -> "queue.SimpleQueue[str | None]":
    """The lines of `stream`, read by a thread of its own, so that the caller need not wait for them; None at its
    end.
    """
    said: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        with stream, suppress(OSError, ValueError):
            for line in stream:
                if line.endswith("\n"):  # If the process ended within a line, its exit status says why.
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


def _last_words(log: IO[bytes]) -> str:
    log.seek(0)
    tail = log.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
    return "\n".join([" Its last words:", *(f"  {line}" for line in tail)]) if tail else ""


def ending(code: int) -> str:
    """How a process ended: "exit status 3", or "signal SIGSEGV" if its status is the negative of a signal."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:  # Most real-time signals have no name.
        return f"signal {-code}"


def say(**line: Any) -> None:
    """Print an object on stdout; the process that started this one reads it at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def say_error(error: LookalikeError) -> None:
    """Print the error, so that the process that started this one can raise it."""
    say(error=error_to_json(error))


def exit_status(run: Callable[[], None]) -> int:
    """The exit status of a process that does `run`: 0, or 1 once it has printed the error."""
    try:
        run()
    except BrokenPipeError:  # The reader is gone; Python's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except LookalikeError as error:
        say_error(error)
        return 1
    except OSError as error:
        say_error(LookalikeError(f"The system refused: {error}."))
        return 1
    return 0


def end_with_parent() -> None:
    """End this process when the one that started it is gone, killed or not: standard input closes then."""

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
