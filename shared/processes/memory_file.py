"""Pass long pieces of a request to a child process through a file in memory."""

import mmap
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

_KEPT_BYTES: Final = 8 << 20  # What is kept for the next request.


class MemoryFile:
    """Memory that this process writes and its child reads; none if the system has no files in memory.

    Both map it: to copy between mapped memory takes a third of the time of a call that writes or reads as much.
    """

    def __init__(self) -> None:
        self.files: list[int] = []
        self._map: mmap.mmap | None = None
        with suppress(AttributeError, OSError):  # Not Linux, or a sandbox that forbids it: pipes do as well.
            self.files.append(os.memfd_create("lookalike"))

    @property
    def number(self) -> int:
        """The file's descriptor, which is the same number in both processes; 0 for none."""
        return self.files[0] if self.files else 0

    def keep(self, pieces: Sequence[bytes | bytearray | memoryview]) -> bool:
        """Store the pieces one behind the other, in place of those before; False if they do not fit."""
        if not self.files or not pieces:
            return False
        try:
            mapped = self._mapped(sum(map(len, pieces)))
        except OSError:  # The machine has no memory left for it.
            return False
        place = 0
        for piece in pieces:
            mapped[place : place + len(piece)] = piece
            place += len(piece)
        return True

    def _mapped(self, size: int) -> mmap.mmap:
        """A mapping of at least `size` bytes that exist: to touch others of it would end this process."""
        if self._map is None or len(self._map) < size:
            self._unmap()
            os.posix_fallocate(self.files[0], 0, size)
            self._map = mmap.mmap(self.files[0], size)
        return self._map

    def trim(self) -> None:
        """Give back what one large request took."""
        if self._map is not None and len(self._map) > _KEPT_BYTES:
            self._unmap()
            os.ftruncate(self.files[0], 0)

    def close(self) -> None:
        self._unmap()
        while self.files:
            os.close(self.files.pop())

    def _unmap(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None


class PieceReader:
    """The child's side: reads pieces from the file that its parent writes."""

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None

    def read(self, file: int, length: int, place: int) -> bytes:
        """`length` bytes from `place`; EOFError if there are fewer."""
        end = place + length
        if os.fstat(file).st_size < end:
            raise EOFError
        if self._map is None or len(self._map) < end:
            if self._map is not None:
                self._map.close()
            self._map = mmap.mmap(file, end, prot=mmap.PROT_READ)
        return self._map[place:end]
