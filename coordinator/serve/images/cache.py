"""Keep thumbnails on disk, by the checksum of their image and their size; the longest unused go."""

import logging
import os
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

log = logging.getLogger("lookalike.http")

_ASIDE: Final = ".aside"
# What is removed is removed down to this share, so that it is not looked for each time.
_LEFT: Final = 0.9
_JPEG_BEGINS, _JPEG_ENDS = b"\xff\xd8", b"\xff\xd9"


class ThumbnailCache:
    """A directory of JPEGs, of at most `most_bytes` together; several threads, and servers, may share it.

    A file is whole or absent: it is written aside and renamed. One that a loss of power cut short is none, and is made
    anew. A disk that refuses costs the cache, and no answer.
    """

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self.directory, self._most = directory, most_bytes
        self._lock = threading.Lock()
        self._held: int | None = None

    def get(self, key: str) -> bytes | None:
        """The thumbnail of a key; None where there is none."""
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)  # It was used just now.
        except OSError:
            return None
        return data if data.startswith(_JPEG_BEGINS) and data.endswith(_JPEG_ENDS) else None

    def put(self, key: str, data: bytes) -> None:
        """Keep a thumbnail, and remove others where there is no place for it."""
        if len(data) > self._most:
            return
        path = self._path(key)
        aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_ASIDE}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            aside.write_bytes(data)
            os.replace(aside, path)
            with self._lock:
                self._held = self._scan() if self._held is None else self._held + len(data)
                if self._held > self._most:
                    self._held = self._cut()
        except OSError as error:
            log.warning("A thumbnail was not kept (%s).", error)
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.directory / key[:2] / f"{key}.jpg"

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each file was used last, its bytes and its path; what a killed server left aside as if never used."""
        found = []
        for path in self.directory.glob("??/*"):
            with suppress(OSError):  # Another server removed it.
                seen = path.stat()
                found.append((0.0 if path.suffix == _ASIDE else seen.st_mtime, seen.st_size, path))
        return found

    def _scan(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _cut(self) -> int:
        """Remove the longest unused files until there is place for more; the bytes that are left."""
        files = sorted(self._files())
        held = sum(size for _, size, _ in files)
        for _, size, path in files:
            if held <= _LEFT * self._most:
                break
            with suppress(OSError):
                path.unlink()
            held -= size
        return held
