"""Read the bytes of an image from a disk, an archive or a URL, and no file of a disk that could block or never end."""

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from io import FileIO
from pathlib import PurePosixPath
from typing import IO

from shared.errors import ImageError, SourceError
from shared.images import archives
from shared.images.members import Member, read_tar_member, read_zip_member
from shared.images.paths import is_url, split_member, to_os_path
from shared.storage import remote
from shared.text import without_secrets

_READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Location:
    """Where the bytes of an image are: its `path`, the text of a job's list, and for an image in an archive `member`.

    Without `member` such an image is looked for in its archive, from its beginning. `moved` is the path that it has
    now, if its source moved since it was listed.
    """

    path: str
    member: Member | None = None
    moved: str | None = None

    @property
    def place(self) -> str:
        """The path at which its bytes are read."""
        return self.path if self.moved is None else self.moved


def read_bytes(path: str, max_bytes: int, member: Member | None = None) -> bytes:
    """The bytes of the image at `path`, the text of a job's list: a file, a URL, or `ARCHIVE::MEMBER`.

    Raises ImageError with vanished, unreadable, oversized, truncated, damaged or empty if they can't be read.
    """
    inside = split_member(path)
    if inside is not None:
        return _read_member(*inside, member, max_bytes)
    return remote.read(path, max_bytes) if is_url(path) else _read_file(path, max_bytes)


def read_head(path: str, length: int) -> bytes:
    """The first `length` bytes of the file at `path`, a text as `to_text` makes it or a URL; raises as read_bytes."""
    return remote.read_at(path, 0, length) if is_url(path) else _read_at(path, 0, length)


def _read_member(archive: str, name: str, member: Member | None, max_bytes: int) -> bytes:
    suffix = suffix_of(archive)
    if suffix == ".parquet":
        row = name.partition("/")[0]
        if member is None and not row.isdecimal():
            raise ImageError(f"An image of a Parquet file is named by its row, as in {archive}::12.", "vanished")
        from shared.images import image_parquet  # Few jobs need it, and Arrow takes half a second.

        return image_parquet.read_row(archive, member or Member(int(row)), max_bytes)
    if member is None:
        member = _found(archive, suffix, name)
    if member.size > max_bytes:
        raise ImageError(f"The file has {member.size:,} bytes; at most {max_bytes:,} are read.", "oversized")
    read_at = partial(remote.read_at, archive) if is_url(archive) else partial(_read_at, archive)
    if suffix == ".tar":
        return read_tar_member(read_at, member, name)
    return read_zip_member(read_at, member, name, partial(_zip_name, archive))


def _zip_name(archive: str, offset: int) -> str | None:
    """The name that a zip's directory has for the file at `offset`; None if it can't be read or has none there."""
    with _zip_lock:
        try:
            return _zip_names(archive, None if is_url(archive) else os.stat(to_os_path(archive)).st_mtime_ns).get(
                offset
            )
        except (SourceError, OSError):
            return None


_zip_lock = threading.Lock()


@lru_cache(maxsize=1)  # Few zips need it, but then for all of their files.
def _zip_names(archive: str, changed: int | None) -> dict[int, str]:
    with opened(archive) as file:
        return {inside.member.offset: inside.name for inside in archives.zip_files(file, archive) if inside.member}


def _found(archive: str, suffix: str, name: str) -> Member:
    try:
        with opened(archive) as file:
            return archives.find(file, archive, suffix, name)
    except SourceError as error:
        raise ImageError(str(error), "unreadable") from None


def suffix_of(path: str) -> str:
    """The suffix of a path or URL in small letters, `.tar`."""
    return PurePosixPath(without_secrets(path) if is_url(path) else path).suffix.lower()


@contextmanager
def opened(path: str) -> Iterator[IO[bytes]]:
    """The file at `path`, a text as `to_text` makes it or a URL, to be read forwards; SourceError when it can't be."""
    if is_url(path):
        with remote.opened(path) as file:
            yield file
        return
    try:
        with open(to_os_path(path), "rb") as opened:
            yield opened
    except OSError as error:
        raise SourceError(f"{path} can't be read ({error.strerror}).") from None


def _read_at(archive: str, start: int, length: int) -> bytes:
    """Up to `length` bytes of an archive from `start` on; opened each time, as an image's own file is."""
    with _failures("archive"), open(to_os_path(archive), "rb", buffering=0, opener=_open_at_once) as file:
        _require_regular(os.fstat(file.fileno()))
        data = os.pread(file.fileno(), length, start)
        while 0 < len(data) < length and (more := os.pread(file.fileno(), length - len(data), start + len(data))):
            data += more
        return data


def _read_file(path: str, max_bytes: int) -> bytes:
    with _failures():
        os_path = to_os_path(path)
        _require_readable(os.stat(os_path), max_bytes)  # Even opening a device may have an effect.
        # What was a file a moment ago may be a FIFO now, on which opening would wait for a writer.
        with open(os_path, "rb", buffering=0, opener=_open_at_once) as file:
            return _read_to_end(file, max_bytes)


def _read_to_end(file: FileIO, max_bytes: int) -> bytes:
    size = _require_readable(os.fstat(file.fileno()), max_bytes)
    parts: list[bytes] = []
    left = max_bytes + 1  # A file that is being written to may have no end.
    while left > 0 and (part := file.read(min(left, max(size, _READ_BYTES)))):
        parts.append(part)
        left -= len(part)
    if left == 0:
        raise ImageError(f"The file grew to more than {max_bytes:,} bytes while it was read.", "oversized")
    return b"".join(parts)


@contextmanager
def _failures(what: str = "file") -> Iterator[None]:
    """Raise what the system says about a file that can't be read as ImageErrors."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError(f"The {what} was listed, but is no longer there.", "vanished") from None
    except OSError as error:
        raise ImageError(f"The {what} can't be read: {error.strerror}.", "unreadable") from error
    except ValueError as error:  # A NUL in the path, or text that can't become a path.
        raise ImageError(f"The path can't be opened: {error}.", "unreadable") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _require_readable(found: os.stat_result, max_bytes: int) -> int:
    """The size of a file; ImageError when it is no regular file, or too large."""
    _require_regular(found)
    if found.st_size > max_bytes:
        raise ImageError(f"The file has {found.st_size:,} bytes; at most {max_bytes:,} are read.", "oversized")
    return found.st_size


def _require_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ImageError("It is no regular file.", "unreadable")
