"""Give this user's processes a private temporary directory on this machine."""

import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def private_directory() -> Path:
    """The directory of mode 0700 under the system's temporary one (TMPDIR), created if need be.

    Raises PermissionError when another user owns it.
    """
    mine = private_path()
    with suppress(FileExistsError):
        mine.mkdir(mode=0o700)
    check_private(mine)
    return mine


def private_path() -> Path:
    """The path of `private_directory`, whether it exists or not."""
    return Path(tempfile.gettempdir()) / f"lookalike-{os.getuid()}"


def check_private(mine: Path) -> None:
    """Raise PermissionError unless this user alone may enter a directory."""
    status = mine.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(
            f"{mine} must be a directory of yours that nobody else can enter: remove it, or set TMPDIR to another one."
        )


@contextmanager
def staged(name: str) -> Iterator[Path]:
    """Yield the path of a file of this name to be written, in a directory of its own that is removed when the block
    ends.

    What a killed process left is removed when the next one stages something.
    """
    above = private_directory() / "staged"
    above.mkdir(exist_ok=True)
    for left in above.iterdir():
        if not _lives(left.name.partition("-")[0]):
            shutil.rmtree(left, ignore_errors=True)
    directory = above / f"{os.getpid()}-{uuid.uuid4().hex}"
    directory.mkdir()
    try:
        yield directory / name
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
