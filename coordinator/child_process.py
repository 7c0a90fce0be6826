"""A process of a worker's module that says what it does, a JSON object a line: started, heard, and ended in time."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from shared.errors import LookalikeError, error_from

_LOG_LINES = 12


@contextmanager
def speaking(
    module: str,
    arguments: Sequence[str],
    what: str,
    *,
    patience: float,
    failure: type[LookalikeError],
    keep: Sequence[int] = (),
    epitaph: Callable[[], str] = str,
) -> Iterator[Iterator[dict[str, Any]]]:
    """Run `python -m MODULE ARGUMENTS` for the time of the block, and yield the objects that it says as they come.

    One that holds an `error` is raised as that error. `failure`, with the end of what the process wrote on stderr, is
    raised where it ends without one that holds a `result`; `what` is the subject of that sentence. At the end of the
    block the standard input of the process is closed, and it is killed if it has not ended `patience` seconds later.
    The open files `keep` stay open in it. `epitaph` is asked, where a signal ended the process, what else is known.
    """
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            # -P: nothing that lies in the working directory is taken for a module.
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            pass_fds=tuple(keep),
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the other.
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield _said(child, child.stdout, log, what, failure, epitaph)
        finally:
            try:
                with suppress(BrokenPipeError):
                    child.stdin.close()
                with suppress(subprocess.TimeoutExpired):
                    child.wait(patience)
            finally:  # A second Ctrl-C ends the patience.
                child.kill()
                child.wait()
                child.stdout.close()


def _said(
    child: "subprocess.Popen[str]",
    lines: IO[str],
    log: IO[bytes],
    what: str,
    failure: type[LookalikeError],
    epitaph: Callable[[], str],
) -> Iterator[dict[str, Any]]:
    result = False
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            raise failure(f"{what} said what is no JSON: {line[:200]!r}.") from None
        if "error" in said:
            raise error_from(said["error"]["kind"], said["error"]["message"])
        result = result or "result" in said
        yield said
    code = child.wait()
    if code == 0 and result:
        return
    how = f"signal {signal.Signals(-code).name}.{epitaph()}" if code < 0 else f"exit status {code}."
    log.seek(0)
    tail = "\n".join(f"  {line}" for line in log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])
    raise failure(f"{what} ended with {how}" + (f" Its last words:\n{tail}" if tail else ""))
