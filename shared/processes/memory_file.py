"""A file in memory through which long pieces of a request go to a child process."""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

_KEPT_BYTES: Final = 8 << 20  # What is kept for the next request.


class MemoryFile:
    """Memory that this process writes and its child reads; none where the system has no files in memory."""

    def __init__(self) -> None:
        self.files: list[int] = []
        self._size = 0
        with suppress(AttributeError, OSError):  # Not Linux, or a sandbox that forbids it: pipes do as well.
            self.files.append(os.memfd_create("lookalike"))

    @property
    def number(self) -> int:
        """The file, by the number that it has in both processes; 0 for none."""
        return self.files[0] if self.files else 0

    def keep(self, pieces: Sequence[bytes | bytearray | memoryview]) -> bool:
        """Hold the pieces one behind the other, in place of those before; False where they do not fit."""
        if not self.files or not pieces:
            return False
        place = 0
        try:
            for piece in pieces:
                left = memoryview(piece)
                while left:
                    count = os.pwrite(self.files[0], left, place)
                    place, left = place + count, left[count:]
        except OSError:  # The machine has no memory left for it.
            self._size = place
            self.trim()
            return False
        self._size = max(self._size, place)
        return True

    def trim(self) -> None:
        """Give back what one large request took."""
        if self._size > _KEPT_BYTES:
            os.ftruncate(self.files[0], 0)
            self._size = 0

    def close(self) -> None:
        while self.files:
            os.close(self.files.pop())


def read_piece(file: int, length: int, place: int) -> bytes:
    """`length` bytes from `place`; EOFError where there are fewer."""
    data = os.pread(file, length, place)
    if len(data) < length:  # One call of Linux reads at most 2 GB.
        raise EOFError
    return data
