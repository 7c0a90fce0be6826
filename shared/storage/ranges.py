"""Ranges: an object that is read here and there as a file is, each piece by a request of its own."""

import io
import os
from collections.abc import Callable
from typing import Any


class Ranges(io.RawIOBase):
    """The bytes of an object of `size` bytes, which `read` gives from a start up to a stop."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._read(self._at, min(self._at + len(buffer), self._size))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def readall(self) -> bytes:
        data = self._read(self._at, self._size)
        self._at = self._size
        return data
