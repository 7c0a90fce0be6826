"""Write tar files that are byte for byte the same for the same members: POSIX pax, no times, no owners."""

import tarfile
from pathlib import Path
from types import TracebackType
from typing import Self

_BLOCK = tarfile.BLOCKSIZE
_END = 2 * _BLOCK


class TarFile:
    """A tar that is being written, member by member, in bounded memory; leaving the context ends it.

    The members are regular files of mode 0644, with user and group 0 and the date 1970. OSError when the disk does not
    take them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = 0

    def __enter__(self) -> Self:
        self._file = open(self._path, "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._file.write(bytes(self._ended(self._bytes) - self._bytes))

    def size_with(self, name: str, size: int) -> int:
        """The bytes of the whole tar if a member of so many were its last."""
        return self._ended(self._bytes + len(_header(name, size)) + _padded(size))

    @property
    def size(self) -> int:
        """The bytes of the whole tar if it ended now."""
        return self._ended(self._bytes)

    def add(self, name: str, data: bytes) -> None:
        """Write `data` as the member `name`."""
        header = _header(name, len(data))
        self._file.write(header)
        self._file.write(data)
        self._file.write(bytes(_padded(len(data)) - len(data)))
        self._bytes += len(header) + _padded(len(data))

    @staticmethod
    def _ended(size: int) -> int:
        return -(-(size + _END) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
