"""Write whole files or none, on a disk or in a store: write aside, fsync, rename; and read and checksum them."""

import glob
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from shared.storage import scratch
from shared.storage.stores import StorePath

TEMPORARY_SUFFIX = ".tmp"
_READ_BYTES = 1 << 20
HALF_SECONDS = 1.0


@contextmanager
def written_aside(path: Path, *, keep_first: bool = False) -> Iterator[Path]:
    """Yield a temporary path on a disk; when the block ends without an error, that file becomes `path`, fsynced and
    whole.

    It is beside `path`, or on this machine's disk where `path` is in a store, which takes whole files in one request.
    With `keep_first`, a file that is already there stays (the first writer wins, also between two machines on a file
    system with hard links, or a store with conditional writes) and the new one is dropped. When the block or the disk
    raises, `path` is as it was; only a kill leaves the temporary file behind, for `remove_leftovers`. Raises OSError as
    the file system gives it, StoreError for a store.
    """
    if isinstance(path, StorePath):
        with scratch.staged(path.name) as staged:
            yield staged
            path.put(staged, keep_first=keep_first)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
    try:
        yield aside
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        if keep_first:
            _publish_first(aside, path)
        else:
            os.replace(aside, path)
        sync_directory(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed writers of `path` left beside it, as far as the file system lets us.

    For a `path` that is there for good: a process that is still writing it aside gets an OSError at its rename.
    """
    if isinstance(path, StorePath):
        return  # There is nothing beside it: an object that was sent in part does not exist.
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*{TEMPORARY_SUFFIX}"):
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _publish_first(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except FileExistsError:
        return
    except OSError:
        # Drive mounts and some network file systems have no hard links. The check then leaves a small window in
        # which the later of two whole files wins; the partition's lease is what keeps two writers apart there.
        if not path.exists():
            os.replace(aside, path)


def write_bytes(path: Path, data: bytes, *, keep_first: bool = False) -> None:
    """Write `data` as the whole of `path`, or leave what was there."""
    with written_aside(path, keep_first=keep_first) as aside:
        aside.write_bytes(data)


def send(local: Path, path: Path) -> None:
    """Make a file of this machine the whole of `path` in a store, without another copy aside."""
    assert isinstance(path, StorePath)
    path.put(local)


def read_marker(path: Path) -> bytes:
    """The bytes of a small file that others publish whole; raises OSError as the file system gives it.

    If a rename is really a copy, as on some mounts, a name appears a moment before all its bytes. So a file that does
    not end as our markers do is read again, for up to a second.
    """
    deadline = time.monotonic() + HALF_SECONDS
    while not is_whole(data := path.read_bytes()) and time.monotonic() < deadline:
        time.sleep(HALF_SECONDS / 20)
    return data


def is_whole(data: bytes) -> bool:
    """Whether bytes end as a marker does: with the end of a line; a JSON object, whose lines are indented, with `}`."""
    return data.endswith(b"\n}\n" if data.startswith(b"{") else b"\n")


def opened(path: Path) -> BinaryIO:
    """A file open for reading, which the caller closes; OSError as the file system gives it."""
    return path.opened() if isinstance(path, StorePath) else open(path, "rb")


def names_in(directory: Path) -> list[str]:
    """The names in a directory, in no order; FileNotFoundError or NotADirectoryError if it is no directory."""
    return directory.names() if isinstance(directory, StorePath) else os.listdir(directory)


def directories_in(directory: Path) -> list[str]:
    """The names of the directories in a directory, in no order; empty if there is no such directory."""
    if not isinstance(directory, StorePath):
        return [path.name for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
    with suppress(FileNotFoundError):
        return directory.names(directories=True)
    return []


def files_below(directory: Path) -> Iterator[Path]:
    """Every file in a directory and the directories in it; links are not followed.

    Raises OSError where one can't be listed, unless it is removed this moment.
    """
    if isinstance(directory, StorePath):
        yield from directory.find()
        return
    for inside, _, names in os.walk(directory, onerror=_raise_unless_gone):
        for name in names:
            yield Path(inside, name)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def remove_all(directory: Path) -> None:
    """Remove a directory and what is in it, as far as that can be done."""
    if isinstance(directory, StorePath):
        with suppress(OSError):
            directory.remove_all()
    else:
        shutil.rmtree(directory, ignore_errors=True)


def sync_directory(directory: Path) -> None:
    """Make a rename in `directory` survive a power cut, where the file system can do that."""
    if isinstance(directory, StorePath):
        return
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # FUSE mounts refuse to fsync a directory; the rename itself has been done.
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in bounded memory."""
    digest = hashlib.sha256()
    for block in blocks_of(path):
        digest.update(block)
    return digest.hexdigest()


def blocks_of(path: Path) -> Iterator[bytes]:
    """A file's bytes in order, some at once."""
    if isinstance(path, StorePath):
        yield from path.blocks()
        return
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            yield block
