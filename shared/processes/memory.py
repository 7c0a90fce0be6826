"""Measure the memory of this process, as the system counts it: what it holds now, and the most that it held.

Pages of mapped files are left out: they are the system's cache, which it takes back when others need it, and a single
row that is read can map two megabytes of them.
"""

import ctypes
import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

STATUS = Path("/proc/self/status")
_MAPS = Path("/proc/self/maps")
_MADV_DONTNEED = 4  # This is Linux's number on every processor that lookalike runs on.
_EVERY_SECONDS: Final = 0.05


class Peak:
    """The most memory, in bytes, that the process held between entering and leaving, measured twenty times a second.

    If the system does not tell a process's own memory, it is the largest resident size of the process so far.
    """

    def __init__(self) -> None:
        self._most = 0
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watch.join()

    def bytes(self) -> int:
        """The most so far."""
        self._most = max(self._most, own_bytes() or largest_resident())
        return self._most

    def _look(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            self.bytes()


def own_bytes() -> int | None:
    """Bytes that this process holds now, pages of mapped files left out; None where the system does not tell."""
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return None


def give_back(file: Path) -> int:
    """Drop the pages of a file that this process maps for reading; returns how many bytes were mapped.

    Code that reads them again loads them again. This is for files that a library keeps mapped but no longer uses. If
    the system does not tell what is mapped, nothing is done.
    """
    given = 0
    with suppress(OSError, ValueError):
        for line in _MAPS.read_text().splitlines():
            where, rights, _, _, _, *name = line.split(maxsplit=5)
            # A mapping that can be written to may hold data that is in no file.
            if name == [str(file)] and rights.startswith("r--"):
                start, end = (int(place, 16) for place in where.split("-"))
                advised = ctypes.CDLL(None).madvise(
                    ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED
                )
                given += 0 if advised else end - start
    return given


def largest_resident() -> int:
    """The most bytes that this process has had in memory so far, pages of mapped files and libraries among them."""
    counted = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return counted if sys.platform == "darwin" else counted * 1024
