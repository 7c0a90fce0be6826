"""Locations: where bytes lie, and how they are read; of files on disks, none that could block or never end."""

import os
import stat

from shared.errors import ImageError
from shared.paths import to_os_path

_READ_BYTES = 65_536


def read_bytes(path: str, max_bytes: int) -> bytes:
    """The bytes of the regular file at `path`, the text of a job's list; ImageError with vanished, unreadable or
    oversized where they can't be had."""
    try:
        os_path = to_os_path(path)
        _require_readable(os.stat(os_path), max_bytes)  # Of a device even the opening may do something.
        # What was a file a moment ago may be a FIFO now, on which opening would wait for a writer.
        with open(os_path, "rb", buffering=0, opener=_open_at_once) as file:
            size = _require_readable(os.fstat(file.fileno()), max_bytes)
            parts: list[bytes] = []
            left = max_bytes + 1  # A file that is being written to may have no end.
            while left > 0 and (part := file.read(min(left, max(size, _READ_BYTES)))):
                parts.append(part)
                left -= len(part)
        if left == 0:
            raise ImageError(f"The file grew to more than {max_bytes:,} bytes while it was read.", "oversized")
        return b"".join(parts)
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("The file was listed, but is no longer there.", "vanished") from None
    except OSError as error:
        raise ImageError(f"The file can't be read: {error.strerror}.", "unreadable") from error
    except ValueError as error:  # A NUL in the path, or text that no path can be made of.
        raise ImageError(f"The path can't be opened: {error}.", "unreadable") from error


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _require_readable(found: os.stat_result, max_bytes: int) -> int:
    """The size of a file; ImageError when it is no regular one, or too large."""
    if not stat.S_ISREG(found.st_mode):
        raise ImageError("It is no regular file.", "unreadable")
    if found.st_size > max_bytes:
        raise ImageError(f"The file has {found.st_size:,} bytes; at most {max_bytes:,} are read.", "oversized")
    return found.st_size
