"""Decode the images of queries in processes of their own, so that a crash, a hang or lack of memory costs only that
image.
"""

import ctypes
import fcntl
import json
import queue
import resource
import signal
import sys
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final

import numpy as np

from shared.errors import ImageError, WorkerFailed
from shared.processes.child import ChildProcess, Piece, serve
from shared.processes.own import module_command
from workers.images.decode import DecodedImage, decode, decode_large_under

# A process may also be ended by chance. An image is given up after the second time.
_TRIES: Final = 2
# A process ends itself when its time is up. Only one that does not run at all is ended from here, this much later.
_GRACE_SECONDS: Final = 5.0
_HEAD_BYTES: Final = 1 << 16
_TIME_IS_UP: Final = "signal SIGALRM"
_KEPT_BYTES: Final = 64 << 20
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # GNU's numbers.
_STATM: Final = Path("/proc/self/statm")


class DecodingProcesses:
    """`count` processes that decode images, kept for the next ones. Several threads may ask at once.

    One that ends is started again. They end with this object, and by themselves when this process does.
    """

    def __init__(self, count: int, seconds: float, memory_bytes: int) -> None:
        """`seconds` and `memory_bytes` are the most that one image may take; the bytes are a bound only on Linux."""
        self._seconds, self._memory_bytes = seconds, memory_bytes
        self._command = module_command("workers.search.decoding", seconds, memory_bytes)
        # The file that they lock while they decode a large image, so that only one is in memory at a time.
        self._large = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object.
        self._all: set[ChildProcess] = set()
        # None stands for one that is to be started. The last used is used next: its memory is warm.
        self._idle: queue.LifoQueue[ChildProcess | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._count = count
        self._close = weakref.finalize(self, _end_all, self._all, self._large)

    def close(self) -> None:
        """End them all; an image that is being decoded then is an error of its thread."""
        self._close()

    @property
    def pids(self) -> set[int]:
        """The process ids of those that run."""
        return {process.pid for process in set(self._all) if not process.has_ended}

    def start(self) -> None:
        """Start those that do not run, without waiting: their imports take some tenths of a second."""
        taken: list[ChildProcess | None] = []
        with suppress(queue.Empty):
            while len(taken) < self._count:
                taken.append(self._idle.get_nowait())
        for process in taken:
            self._idle.put(self._restarted(process))

    def decode(self, data: bytes, image_size: int, max_pixels: int, how: str) -> DecodedImage:
        """The result of `workers.images.decode.decode` for these arguments.

        Raises ImageError as that does; with the status "quarantined" for an image that ends two processes or takes
        more than the seconds it has, "oversized" for one that takes more than the bytes. Raises WorkerFailed when no
        process can be started.
        """
        head = json.dumps({"image_size": image_size, "max_pixels": max_pixels, "how": how}).encode()
        process = self._idle.get()
        ends: list[str] = []
        try:
            while len(ends) < _TRIES and _TIME_IS_UP not in ends:
                process = self._running(process)
                try:
                    # A process that waits for another to finish a large image has the time of both.
                    most = _HEAD_BYTES + image_size * image_size * 3
                    answer = process.ask([head, data], self._count * self._seconds + _GRACE_SECONDS, most)
                    return _unpacked(answer, image_size)
                except EOFError:
                    ends.append(process.end())
                except TimeoutError:
                    ends.append(_TIME_IS_UP)
                except ValueError as error:
                    ends.append(f"an answer that is none, {error}")
                self._forget(process)
                process = self._another()
            raise self._given_up(ends)
        except ImageError:
            raise
        except BaseException:
            # Part of an answer may be under way, which must not become that of the next image.
            self._forget(process)
            process = None
            raise
        finally:
            # It starts at once, so that the next image does not wait for that.
            self._idle.put(self._restarted(process))

    def _another(self) -> ChildProcess | None:
        """A waiting process for the second try: the imports of a new one take some tenths of a second."""
        try:
            other = self._idle.get_nowait()
        except queue.Empty:
            return None
        self._idle.put(self._restarted(None))
        return other

    def _given_up(self, ends: list[str]) -> ImageError:
        if _TIME_IS_UP in ends:
            sentence = (
                f"The image was not decoded within {self._seconds:g} s (the setting decode_seconds), and its process "
                "was ended: it is damaged, or made to take long. Save it anew in another program."
            )
        else:
            sentence = (
                f"Each process that decoded this image came to its end by it ({', '.join(ends)}): it is damaged, or "
                "made to do that. Save it anew in another program."
            )
        return ImageError(sentence, "quarantined")

    def _running(self, process: ChildProcess | None) -> ChildProcess:
        if process is not None and not process.has_ended:
            return process
        self._forget(process)
        try:
            started = ChildProcess([*self._command, str(self._large.fileno())], keep=(self._large.fileno(),))
        except OSError as error:
            raise WorkerFailed(
                f"The worker can't start a process that decodes query images ({error}): see that its machine has "
                "memory and processes left."
            ) from None
        self._all.add(started)
        return started

    def _restarted(self, process: ChildProcess | None) -> ChildProcess | None:
        # The next decoding tries again, and reports what is wrong.
        with suppress(WorkerFailed, ValueError):
            return self._running(process)
        return None

    def _forget(self, process: ChildProcess | None) -> None:
        if process is not None:
            process.kill()
            self._all.discard(process)


def _end_all(processes: set[ChildProcess], large: IO[bytes]) -> None:
    for process in list(processes):
        process.kill()
    processes.clear()
    large.close()


def _unpacked(answer: bytearray, image_size: int) -> DecodedImage:
    """The inverse of `_packed`; raises the ImageError that it holds, or ValueError for an invalid answer."""
    end = answer.index(b"\n")
    try:
        head = json.loads(answer[:end])
        if "status" in head:
            raise ImageError(head["message"], head["status"])
        pixels = np.frombuffer(answer, np.uint8, offset=end + 1).reshape(image_size, image_size, 3)
        return DecodedImage(pixels, head["width"], head["height"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{error!r}") from None


class _SharedLock:
    """A lock on an open file that processes share. It is given up when its process ends, however it does."""

    def __init__(self, file: int, seconds: float) -> None:
        self._file, self._seconds = file, seconds

    def __enter__(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)  # Waiting for another image does not count as this one's time.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)


def _keep_memory() -> None:
    """Let this process keep freed memory for the next image: to get the pages again takes as long as decoding."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # This is another C library than GNU's.
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, 32 << 20)
            mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
            mallopt(_M_TOP_PAD, 8 << 20)


def _limit_memory(most: int) -> None:
    """Let this process take `most` bytes more than it has already; only Linux counts a process's own memory."""
    if sys.platform != "linux":
        return
    has = int(_STATM.read_text().split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = has + most
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _wants_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "(-4:" in str(error) or "bad_alloc" in str(error):
            return True
        error = error.__cause__
    return False


def _decoded(data: bytes, image_size: int, max_pixels: int, how: str, memory_bytes: int) -> list[Piece]:
    """An image as a line of JSON and its pixels behind it, or a line that says why it is none."""
    try:
        image = decode(data, image_size, max_pixels, how)
    except (ImageError, MemoryError) as error:
        status, message = getattr(error, "status", "oversized"), str(error)
        if _wants_memory(error):
            status = "oversized"
            message = (
                f"Decoding the image takes more than {memory_bytes:,} bytes of memory (the setting "
                "decode_memory_bytes): it is too large, or made to look so. Send a smaller copy."
            )
        return [json.dumps({"status": status, "message": message}).encode() + b"\n"]
    return [json.dumps({"width": image.width, "height": image.height}).encode() + b"\n", image.pixels.data.cast("B")]


def main(arguments: list[str]) -> None:
    """Decode the images that come on standard input, each behind a line of JSON that says how; answer with pixels."""
    seconds, memory_bytes, large = float(arguments[0]), int(arguments[1]), int(arguments[2])
    decode_large_under(_SharedLock(large, seconds))
    _keep_memory()
    _limit_memory(memory_bytes)

    def answer(request: list[bytes]) -> list[Piece]:
        return _decoded(request[1], **json.loads(request[0]), memory_bytes=memory_bytes)

    serve(answer, seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
