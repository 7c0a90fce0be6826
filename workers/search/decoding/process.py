"""A process that decodes images for queries, one after the other, within the time and memory that each may take."""

import ctypes
import fcntl
import json
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from shared.errors import ImageError
from shared.processes.child import Piece, serve
from workers.images.decode import decode, decode_large_under
from workers.search.decoding.pictures import FEATURES, PDQS, VIEWS, features_of, packed, pdqs_of, views_of
from workers.search.decoding.small import THUMBNAIL, thumbnail_of

_KEPT_BYTES: Final = 64 << 20
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # GNU's numbers.
_STATM: Final = Path("/proc/self/statm")


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


def _answered(want: str, data: bytes, request: dict[str, Any]) -> list[Piece]:
    """What is wanted of an image: a line of JSON, and pixels or features behind it. Raises ImageError as `decode`."""
    if want == THUMBNAIL:
        return [_line({}), thumbnail_of(data, **request)]
    if want == FEATURES:
        table, pieces = packed(features_of(data, **request))
        return [_line(table), *pieces]
    if want == PDQS:
        hashes, quality = pdqs_of(data, **request)
        return [_line({"quality": quality}), hashes.data.cast("B")]
    if want == VIEWS:
        squares = views_of(data, **request)
        return [_line({"views": len(squares)}), squares.data.cast("B")]
    image = decode(data, **request)
    return [_line({"width": image.width, "height": image.height}), image.pixels.data.cast("B")]


def _answer(want: str, data: bytes, request: dict[str, Any], memory_bytes: int) -> list[Piece]:
    """As `_answered`, or a line that says why there is none."""
    try:
        return _answered(want, data, request)
    except (ImageError, MemoryError) as error:
        status, message = getattr(error, "status", "oversized"), str(error)
        if _wants_memory(error):
            status = "oversized"
            message = (
                f"Decoding the image takes more than {memory_bytes:,} bytes of memory (the setting "
                "decode_memory_bytes): it is too large, or made to look so. Send a smaller copy."
            )
        return [_line({"status": status, "message": message})]


def _line(table: dict[str, Any]) -> bytes:
    return json.dumps(table).encode() + b"\n"


def main(arguments: list[str]) -> None:
    """Decode the images that come on standard input, each behind a line of JSON that says how; answer with pixels,
    local features or PDQs."""
    seconds, memory_bytes, large = float(arguments[0]), int(arguments[1]), int(arguments[2])
    decode_large_under(_SharedLock(large, seconds))
    _keep_memory()
    _limit_memory(memory_bytes)

    def answer(request: list[bytes]) -> list[Piece]:
        how = json.loads(request[0])
        return _answer(how.pop("want"), request[1], how, memory_bytes)

    serve(answer, seconds)


if __name__ == "__main__":
    main(sys.argv[1:])
