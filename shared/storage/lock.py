"""Lock files between processes; a lock ends with its holder, however that ends."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import IO


def lock(file: int | IO[bytes] | IO[str], *, wait: bool = True) -> bool | None:
    """Lock an open file for as long as it is open in any process.

    False when another holds it and `wait` is False. None if the file system has no locks, as on the mounts that
    docs/operations.md names: then nothing keeps two processes apart, and the caller says what that means.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_at(file: int | IO[bytes] | IO[str], path: Path) -> bool:
    """Whether an open file is still the one at `path`: an earlier holder may have removed it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file if isinstance(file, int) else file.fileno()), os.stat(path))
    return False


def open_locked(path: Path) -> tuple[int, bool] | None:
    """Open the lock file `path`, create it if need be, and lock it; returns the descriptor and whether it is locked.

    None when another process holds it. Holders may remove the file while they hold it. The directory of `path` is
    created each time, as an earlier holder may have removed that too.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        taken = lock(handle, wait=False)
        if taken is None:
            return handle, False
        if taken and is_at(handle, path):
            return handle, True
        os.close(handle)
        if not taken:
            return None
