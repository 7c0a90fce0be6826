"""Keep cached files of jobs in stores on this machine's disk, by their checksums; workers share them."""

import hashlib
import logging
import os
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from shared.errors import CorruptFile, JobError, StoreError
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.settings import Settings
from shared.storage import files
from shared.storage.lock import is_at, lock

log = logging.getLogger("lookalike.worker")

_AT_ONCE = 4


class JobCache:
    """Cached files whose SHA-256 is known from seals and index.json; it is the name of a cached file.

    So a new build or seal never meets old bytes, and equal files of several builds are one. A cached file is whole or
    absent. Above `most_bytes` the files that were unused longest are removed, but none that a process holds: a larger
    job is kept as long as a process has it open. If the disk knows no locks, nothing is removed.
    """

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self.directory = directory
        self._most_bytes = most_bytes
        self._copies = directory / "files"
        self._holds = directory / "holds"

    @classmethod
    def of(cls, settings: Settings) -> "JobCache":
        """The cache that the settings name, else the one in the user's cache directory."""
        import platformdirs

        home = settings.job_cache_dir or platformdirs.user_cache_path("lookalike") / "jobs"
        return cls(home, settings.job_cache_bytes)

    def build_dir(self, job: JobDir) -> Path:
        """Where builds of a job in a store are made before they are sent there."""
        return self.directory / "builds" / hashlib.sha256(str(job.path).encode()).hexdigest()[:16]

    def hold(self) -> "Held":
        return Held(self)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from adding, holding and removing for a moment."""
        self._copies.mkdir(parents=True, exist_ok=True)
        self._holds.mkdir(exist_ok=True)
        with open(self.directory / ".lock", "w") as file:
            lock(file)
            yield

    def _make_room(self, coming: int) -> None:
        """Remove the cached files that were unused longest and that no process holds, until `coming` more bytes are
        within bounds.
        """
        with self._alone():
            held = self._held_names()
            if held is None:
                return
            found = []
            for path in self._copies.iterdir():
                with suppress(FileNotFoundError):  # A file that was being fetched has got its name.
                    found.append((path, path.stat()))
            size = coming + sum(status.st_size for _, status in found)
            for path, status in sorted(found, key=lambda one: one[1].st_mtime):
                if size <= self._most_bytes:
                    return
                if path.name not in held and not _is_coming(path):
                    path.unlink(missing_ok=True)
                    size -= status.st_size

    def _held_names(self) -> set[str] | None:
        """The cached files that living processes hold, by name; None if that is not known."""
        held: set[str] = set()
        for path in self._holds.iterdir():
            with suppress(FileNotFoundError), open(path, "r+") as file:  # One that is given up this moment.
                taken = lock(file, wait=False)
                if taken is None:
                    return None
                if taken:
                    path.unlink(missing_ok=True)  # Its process is gone.
                else:
                    held.update(file.read().split("\n"))
        return held


class Held:
    """Cached files that stay as long as this object does; several threads may ask for them at once."""

    def __init__(self, cache: JobCache) -> None:
        self._cache = cache
        self._note: Any = None

    def file(self, path: Path, entry: Mapping[str, Any], *, check: bool = False) -> Path:
        """A copy of `path` in a store, whose size and SHA-256 are those of `entry`.

        With `check`, the bytes of an existing cached file are compared, not only its size. Raises CorruptFile when the
        object in the store is missing or has other bytes, StoreError when the store refuses or does not answer,
        JobError when the disk does not take the file.
        """
        copy = self._cache._copies / f"{entry['sha256']}{path.suffix}"
        try:
            while not self._there(copy, entry, check):
                self._cache._make_room(int(entry["bytes"]))
                self._fetch(path, entry, copy)
                check = False  # It was compared as it came.
        except StoreError:
            raise
        except OSError as error:
            raise JobError(
                f"The copy of {path} ({entry['bytes'] / 1e6:,.0f} MB) can't be kept in {self._cache.directory} "
                f"({error.strerror or error}): make room there, or set LOOKALIKE_JOB_CACHE_DIR to another directory."
            ) from None
        return copy

    def files(self, wanted: Iterable[tuple[Path, Mapping[str, Any]]], *, check: bool = False) -> list[Path]:
        """As `file`, for several at once."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch") as pool:
            return [*pool.map(lambda one: self.file(*one, check=check), wanted)]

    def take(self, local: Path, path: Path, entry: Mapping[str, Any]) -> None:
        """Put a file of this machine, which was sent to the store and is not needed any more, into the cache."""
        copy = self._cache._copies / f"{entry['sha256']}{path.suffix}"
        self._cache._make_room(int(entry["bytes"]))
        with self._cache._alone(), suppress(OSError):  # Across file systems: then it is fetched when it is asked for.
            os.replace(local, copy)

    def _there(self, copy: Path, entry: Mapping[str, Any], check: bool) -> bool:
        """Hold a cached file, and return whether it exists."""
        with self._cache._alone():
            self._write_down(copy.name)
            try:
                whole = copy.stat().st_size == int(entry["bytes"])
            except FileNotFoundError:
                return False
            if whole:
                os.utime(copy)
        if whole and check:
            whole = files.sha256_of(copy) == str(entry["sha256"])
        if not whole:
            log.warning("The copy %s is damaged; it is fetched anew.", copy)
            copy.unlink(missing_ok=True)
        return whole

    def _write_down(self, name: str) -> None:
        if self._note is None:
            self._note = open(self._cache._holds / uuid.uuid4().hex, "w")  # noqa: SIM115
            weakref.finalize(self, _give_up, self._note)
            lock(self._note)
        self._note.write(f"{name}\n")
        self._note.flush()

    def _fetch(self, path: Path, entry: Mapping[str, Any], copy: Path) -> None:
        """Fetch a file, or wait for the process that fetches it; it may be gone again when this returns."""
        part = copy.with_name(f".{copy.name}.part")
        with open(part, "ab") as file:
            lock(file)
            if not is_at(file, part):
                return
            if copy.exists():
                part.unlink()  # It was another's, and has got its name while we waited; this one is new, and empty.
                return
            log.info("Fetching %s (%.1f MB).", path, entry["bytes"] / 1e6)
            file.truncate(0)
            try:
                if wrong := _filled(file, path, entry):
                    raise CorruptFile(
                        f"{path} {wrong}",
                        remedy=Remedy(
                            "repair",
                            does="takes back what it belongs to",
                            then=Remedy("make", does="does it again"),
                        ),
                    )
                os.replace(part, copy)
            except BaseException:
                part.unlink(missing_ok=True)
                raise


def _filled(file: BinaryIO, path: Path, entry: Mapping[str, Any]) -> str:
    """Write the bytes of an object into a file; returns what is wrong with them, empty where they are right."""
    digest, size = hashlib.sha256(), 0
    try:
        for block in files.blocks_of(path):
            file.write(block)
            digest.update(block)
            size += len(block)
    except FileNotFoundError:
        return "is missing"
    file.flush()
    if size != int(entry["bytes"]):
        return f"has {size:,} bytes, and {entry['bytes']:,} were written down for it"
    return "" if digest.hexdigest() == entry["sha256"] else "has another checksum than was written down for it"


def _is_coming(path: Path) -> bool:
    """Whether a file is being fetched just now."""
    if not path.name.startswith("."):
        return False
    try:
        with open(path, "rb") as file:
            return not lock(file, wait=False)
    except FileNotFoundError:
        return True


def _give_up(note: Any) -> None:
    with suppress(OSError):
        os.unlink(note.name)
    note.close()
