"""Give objects in a bucket paths with the methods of pathlib, through fsspec."""

import hashlib
import io
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path, PosixPath
from typing import Any, BinaryIO, Final, Self, cast

from shared.errors import UsageError
from shared.storage.drivers import WHOLE_OBJECTS, asking
from shared.storage.ranges import Ranges
from shared.text import without_secrets

# pathlib makes one slash of two, and may have seen the URL before us. One letter would be a drive of Windows.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.*)", re.DOTALL)
BLOCK_BYTES: Final = 16 << 20
_FIRST_TRIES: Final = 2
_ONE_REQUEST_BYTES: Final = 32 << 20


class StorePath(PosixPath):
    """An object in a store, or what begins the names of several as a directory does: `s3://bucket/jobs/photos`.

    It is a path, so that the code of a job has only one kind of path. But its methods ask the store, and no function
    for files of this machine takes it, as it has no name there (`open` raises TypeError).

    Every failure is an OSError: FileNotFoundError for what is not there, and StoreError, a sentence without secrets,
    for a store that refuses or does not answer. A store that does not answer never makes a file look absent.
    """

    __slots__ = ()

    def __str__(self) -> str:
        # pathlib makes one slash of the two.
        first, *others = self.parts or ("",)
        return f"{first}//{'/'.join(others)}" if first.endswith(":") else "/".join(self.parts)

    def __fspath__(self) -> str:
        raise TypeError(f"{self} lies in a store, and is no file of this machine.")

    @property
    def scheme(self) -> str:
        return self.parts[0].rstrip(":")

    def expanduser(self) -> Self:
        return self

    def absolute(self) -> Self:
        return self

    def resolve(self, strict: bool = False) -> Self:
        return self

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Size and time of the object, and as its inode what changes with it; FileNotFoundError when there is none."""
        found = self._info()
        written = next((found[key] for key in ("LastModified", "mtime", "updated", "created") if found.get(key)), None)
        version = next((found[key] for key in ("generation", "ETag", "etag") if found.get(key)), "")
        is_file = found["type"] == "file"
        kind = stat.S_IFREG if is_file else stat.S_IFDIR
        inode = int.from_bytes(hashlib.sha256(f"{version} {written}".encode()).digest()[:8])
        seconds = _seconds(written) if is_file else 0.0
        return os.stat_result((kind | 0o600, inode, 0, 1, 0, 0, int(found["size"] or 0), seconds, seconds, seconds))

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        with suppress(FileNotFoundError):
            return bool(self._info())
        return False

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        with suppress(FileNotFoundError):
            return bool(self._info()["type"] == "file")
        return False

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        with suppress(FileNotFoundError):
            return bool(self._info()["type"] != "file")
        return False

    def is_symlink(self) -> bool:
        return False

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a store has no directories, only names with slashes in them."""

    def rmdir(self) -> None:
        """Do nothing, as `mkdir` does."""

    def names(self, *, directories: bool = False) -> list[str]:
        """The names of what is here as in a directory, or only of the `directories`; FileNotFoundError if there are
        none.
        """
        with asking(self.scheme, str(self)) as fs:
            found = fs.ls(str(self), detail=True)
        below = [(entry["name"].rstrip("/").rpartition("/")[2], entry["type"]) for entry in found]
        # Some stores list an entry for the directory itself.
        itself = [(self.name, "directory")] if len(below) == 1 else []
        return sorted(
            name for name, kind in below if (name, kind) not in itself and (not directories or kind == "directory")
        )

    def find(self) -> Iterator[Self]:
        """Every object whose name begins with this one as a directory."""
        with asking(self.scheme, str(self)) as fs:
            root = fs._strip_protocol(str(self)).rstrip("/")
            found = fs.find(str(self))
        for name in sorted(found):
            yield self / name.removeprefix(root).lstrip("/")

    def read_bytes(self) -> bytes:
        with asking(self.scheme, str(self)) as fs:
            return cast(bytes, fs.cat_file(str(self)))

    def range(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`, both within the object."""
        if start >= stop:
            return b""
        with asking(self.scheme, str(self)) as fs:
            return cast(bytes, fs.cat_file(str(self), start=start, end=stop))

    def blocks(self) -> Iterator[bytes]:
        """The object's bytes in order, some megabytes at once."""
        size = self.stat().st_size
        for start in range(0, size, BLOCK_BYTES):
            yield self.range(start, min(start + BLOCK_BYTES, size))

    def opened(self) -> BinaryIO:
        """The object as a file for random reads, such as the end of a Parquet file; the caller closes it."""
        return io.BufferedReader(Ranges(self.range, self.stat().st_size), 1 << 16)

    def put(self, local: Path, *, keep_first: bool = False) -> None:
        """Make the bytes of a local file this object, whole or not at all; with `keep_first`, unless there is one.

        If the store knows no such condition, the later of two writers wins in the moment between look and write.
        """
        for _ in range(_FIRST_TRIES if keep_first else 0):
            try:
                self._put(local, "create")
            except FileExistsError:
                return
            except (NotImplementedError, TypeError, OSError):
                # Another process writes it just now, or was first and the store says so in other words, or the store
                # knows no such condition, or the write succeeded and its answer was lost.
                if self.is_file():
                    return
            else:
                return
        self._put(local, "overwrite")

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            with asking(self.scheme, str(self)) as fs:
                fs.rm_file(str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def remove_all(self) -> None:
        """Remove every object below this one, if there are any."""
        with suppress(FileNotFoundError), asking(self.scheme, str(self)) as fs:
            fs.rm(str(self), recursive=True)

    def _put(self, local: Path, mode: str) -> None:
        at_once = self.scheme == "memory" or local.stat().st_size <= _ONE_REQUEST_BYTES
        data = local.read_bytes() if at_once else b""
        with asking(self.scheme, str(self)) as fs:
            if self.scheme not in WHOLE_OBJECTS:
                self._put_aside(fs, local, mode)
            elif at_once:
                fs.pipe_file(str(self), data, mode=mode)
            else:
                fs.put_file(str(local), str(self), mode=mode)

    def _put_aside(self, fs: Any, local: Path, mode: str) -> None:
        """Write it as a local file is written: under another name, then renamed."""
        if mode == "create" and self.is_file():
            raise FileExistsError
        aside = self.parent / f".{self.name}.{os.urandom(16).hex()}.tmp"
        fs.makedirs(str(self.parent), exist_ok=True)
        try:
            fs.put_file(str(local), str(aside))
            fs.mv(str(aside), str(self))
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    def _info(self) -> dict[str, Any]:
        with asking(self.scheme, str(self)) as fs:
            return cast(dict[str, Any], fs.info(str(self)))


def any_path(place: str | Path) -> Path:
    """The path of a place that was typed: a StorePath for a URL, except `file://`, else a path of this machine.

    Raises UsageError for a URL that can't be one of a job. It does not ask the store.
    """
    if isinstance(place, StorePath):
        return place
    text = str(place)
    match = _URL.fullmatch(text)
    shown = without_secrets(text)
    if match is None and "::" in text.partition("/")[0]:
        raise UsageError(f"{shown} goes through one store to another, where no job can lie: type the URL of the last.")
    if match is None:
        return place if isinstance(place, Path) else Path(os.path.expanduser(place))
    scheme, rest = match["scheme"].lower(), match["rest"]
    if scheme in ("file", "local"):
        return Path("/", rest)
    # Libraries could take it for a pattern, which could name more than is meant, also when something is removed.
    if "::" in rest or any(sign in rest for sign in "?#*[]{}"):
        raise UsageError(
            f"{shown} is no URL of files in a store: type it as s3://BUCKET/FOLDER, with nothing behind and no pattern."
        )
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise UsageError(
            f"{shown} has a password in it, which would be read in logs and in `ps`: leave it out, and give the "
            "credentials to the store's library by its environment or its own files."
        )
    parts = [part for part in rest.split("/") if part]
    if any(part in (".", "..") for part in parts):
        raise UsageError(f"{shown} has a part that leads elsewhere, {'..' if '..' in parts else '.'}: leave it out.")
    return StorePath(f"{scheme}:", *parts)


def _seconds(written: Any) -> float:
    """Seconds since the epoch of what stores call a time; now if they don't say, so that nothing looks old."""
    if isinstance(written, str):
        with suppress(ValueError):
            written = datetime.fromisoformat(written.replace("Z", "+00:00"))
    if isinstance(written, datetime):
        return written.timestamp()
    return float(written) if isinstance(written, int | float) else time.time()
