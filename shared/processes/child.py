"""Run processes that answer one request after the other, so that what would end a worker ends only one of them."""

import fcntl
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

from shared.processes.memory_file import MemoryFile, PieceReader
from shared.processes.stage import ending

Piece: TypeAlias = "bytes | bytearray | memoryview"

_LENGTH_BYTES: Final = 8
# An interpreter takes a moment to end, on a busy machine a second.
END_SECONDS: Final = 5.0
# The size of a pipe. With the system's 64 kB an image of a few megabytes would take that many turns of two processes.
_PIPE_BYTES: Final = 1 << 20
# A longer piece goes through memory that both processes hold open, if the system has such memory: it takes one turn.
_PIECE_BYTES: Final = 1 << 16
_IN_MEMORY: Final = 1 << 63  # Added to the length of such a piece.


class ChildProcess:
    """`python -m MODULE ARGUMENTS`, whose `main` calls `serve`. One thread at a time may ask it.

    It ends by itself when this process does, also where that is killed: its standard input ends then.
    """

    def __init__(self, command: Sequence[str], keep: Sequence[int] = ()) -> None:
        """Start it; the open files `keep` stay open in it. This does not wait for it."""
        self._memory = MemoryFile()
        # In a session of its own: Ctrl-C is for the worker, and must not count against an image.
        try:
            self._process = subprocess.Popen(
                [*command],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(*keep, *self._memory.files),
                start_new_session=True,
            )
        except BaseException:
            self._memory.close()
            raise
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)  # A process that doesn't read must not block the writer past the deadline.
        _widen(self._in)
        _widen(self._out)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, request: Sequence[Piece], seconds: float, most: int) -> bytearray:
        """The answer to a request, which is given in pieces.

        EOFError when the process ends instead, or answers with over `most` bytes, which a good one never does;
        TimeoutError when the answer takes more than `seconds`. In either case the caller has to end the process.
        """
        deadline = time.monotonic() + seconds
        kept = self._memory.keep([piece for piece in request if len(piece) > _PIECE_BYTES])
        lengths = [len(piece) + (_IN_MEMORY if kept and len(piece) > _PIECE_BYTES else 0) for piece in request]
        head = (len(request), self._memory.number, *lengths)
        self._write(b"".join(number.to_bytes(_LENGTH_BYTES, "big") for number in head), deadline)
        for piece, length in zip(request, lengths, strict=True):
            if length < _IN_MEMORY:
                self._write(piece, deadline)
        length = int.from_bytes(self._read(_LENGTH_BYTES, deadline), "big")
        if length > most:
            raise EOFError
        answer = self._read(length, deadline)
        self._memory.trim()
        return answer

    def end(self) -> str:
        """End the process, if it has not ended by itself, and say how it did."""
        self._close()
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            code = self._killed()
        return ending(code)

    def kill(self) -> None:
        """End a process that does not answer."""
        self._killed()
        self._close()

    def _close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # It ends by itself when it has nothing more to read.
        self._process.stdout.close()
        self._memory.close()

    def _killed(self) -> int:
        self._process.kill()
        return self._process.wait()

    def _write(self, data: Piece, deadline: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._in, left) :]
            except BlockingIOError:
                _wait(self._in, select.POLLOUT, deadline)
            except BrokenPipeError:
                raise EOFError from None

    def _read(self, length: int, deadline: float) -> bytearray:
        data = bytearray(length)
        left = memoryview(data)
        while left:
            _wait(self._out, select.POLLIN, deadline)
            count = os.readv(self._out, [left])
            if not count:
                raise EOFError
            left = left[count:]
        return data


def serve(answer: Callable[[list[bytes]], Sequence[Piece]], seconds: float) -> None:
    """Answer requests on standard input until it ends: `answer` gets the pieces of a request, and returns those of the
    answer.

    The system ends this process when an answer takes more than `seconds`, because a library that hangs never returns to
    the interpreter. So it also ends if the process that asked was killed meanwhile.
    """
    # Nothing else in this process, and no library, may write between the answers.
    out = os.dup(1)
    os.dup2(2, 1)
    # The process that asked is told how this one ended. A core file would take seconds and disk space for each image.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    with suppress(BrokenPipeError, EOFError):  # The process that asked is gone.
        reader = PieceReader()
        while True:
            count, memory = _number(), _number()
            request = _pieces([_number() for _ in range(count)], memory, reader)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            pieces = [memoryview(piece).cast("B") for piece in answer(request)]
            signal.setitimer(signal.ITIMER_REAL, 0)
            _all_to(out, sum(map(len, pieces)).to_bytes(_LENGTH_BYTES, "big"))
            for piece in pieces:
                _all_to(out, piece)


def _number() -> int:
    return int.from_bytes(_exactly(_LENGTH_BYTES), "big")


def _pieces(lengths: list[int], memory: int, reader: PieceReader) -> list[bytes]:
    pieces, place = [], 0
    for length in lengths:
        if length < _IN_MEMORY:
            pieces.append(_exactly(length))
        else:
            pieces.append(reader.read(memory, length - _IN_MEMORY, place))
            place += len(pieces[-1])
    return pieces


def _exactly(length: int) -> bytes:
    data = sys.stdin.buffer.read(length)  # Long pieces are copied only here.
    if len(data) < length:
        raise EOFError
    return data


def _all_to(file: int, data: Piece) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _wait(file: int, event: int, deadline: float) -> None:
    # Not select(), which knows no file above 1,023, and a query worker has many open.
    poll = select.poll()
    poll.register(file, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _widen(pipe: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError):  # A system has only so much for all pipes of a user.
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
