"""Cache embeddings of finer models in one file of this machine, by model and by the bytes of the image.

It is an SQLite database: what is committed stays through any kill, what is not was never there, and several workers
may read and write at once. A row that is not as it was written counts as none.
"""

import logging
import sqlite3
import threading
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from time import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.processes.failpoints import failpoint
from shared.vectors import unit

log = logging.getLogger("lookalike.query")

FILE: Final = "embeddings.sqlite3"
WAIT_SECONDS: Final = 5.0
"""As long as another worker may write."""
_STAMP_SECONDS: Final = 3_600  # That a row was used is written no more often.
_FREED: Final = 10  # A tenth goes at once, so that not every query has to make room.
_AT_ONCE: Final = 500
_MAKE: Final = (
    "CREATE TABLE IF NOT EXISTS embeddings (model TEXT, sha256 BLOB, vector BLOB, checksum INTEGER, used INTEGER,"
    " PRIMARY KEY (model, sha256)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS by_use ON embeddings (used)",
)


class EmbeddingCache:
    """Embeddings, float32 [dim] of length 1, kept as float16; several threads and processes may ask at once.

    A cache that can't be read or written costs only its use, with a line in the log.
    """

    def __init__(self, directory: Path, most_bytes: int) -> None:
        """Above `most_bytes` those that were unused longest go; 0 keeps none, and makes no file."""
        self._path, self._most = directory / FILE, most_bytes
        self._lock = threading.Lock()

    def get(self, model: str, digests: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """The embeddings by the model of this fingerprint that are there, by the SHA-256 of their images, in hex."""
        if not self._most or not digests or not self._path.is_file():
            return {}
        try:
            with self._lock, closing(self._opened()) as database, database:
                return _read(database, model, digests)
        except (sqlite3.Error, OSError) as error:
            self._failed("read", error)
            return {}

    def put(self, model: str, found: Mapping[str, NDArray[np.float32]]) -> None:
        """Keep embeddings; all of them at once, or none where this process is killed meanwhile."""
        if not self._most or not found:
            return
        now = int(time())
        rows = []
        for digest, vector in found.items():
            data = np.asarray(vector, "<f2").tobytes()
            rows.append((model, bytes.fromhex(digest), data, _checksum(model, digest, data), now))
        try:
            with self._lock, closing(self._opened()) as database:
                with database:
                    database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?, ?)", rows)
                    failpoint("commit_finer")
                self._make_room(database)
        except (sqlite3.Error, OSError) as error:
            self._failed("written", error)

    def _opened(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, WAIT_SECONDS)
        try:
            for statement in _MAKE:
                database.execute(statement)
        except BaseException:
            database.close()
            raise
        return database

    def _make_room(self, database: sqlite3.Connection) -> None:
        """Remove rows until the file, whose free pages the next rows take, holds no more than it may."""
        size, free, pages = (database.execute(f"PRAGMA {what}").fetchone()[0] for what in _SIZES)
        if (pages - free) * size <= self._most:
            return
        with database:
            count = database.execute("SELECT COUNT(*) FROM embeddings").fetchone()[0]
            database.execute(
                "DELETE FROM embeddings WHERE (model, sha256) IN"
                " (SELECT model, sha256 FROM embeddings ORDER BY used LIMIT ?)",
                (max(1, count // _FREED),),
            )

    def _failed(self, what: str, error: Exception) -> None:
        log.warning("The cache %s can't be %s (%s).", self._path, what, error)
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            # It is no database, or a damaged one: nothing in it can't be computed again.
            self._path.unlink(missing_ok=True)
            self._path.with_name(f"{FILE}-journal").unlink(missing_ok=True)


_SIZES: Final = ("page_size", "freelist_count", "page_count")


def _read(database: sqlite3.Connection, model: str, digests: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    found: dict[str, NDArray[np.float32]] = {}
    old: list[tuple[str, bytes]] = []
    now = int(time())
    for start in range(0, len(digests), _AT_ONCE):
        some = [bytes.fromhex(digest) for digest in digests[start : start + _AT_ONCE]]
        asked = f"SELECT sha256, vector, checksum, used FROM embeddings WHERE model = ? AND sha256 IN ({_marks(some)})"
        for digest, data, checksum, used in database.execute(asked, (model, *some)):
            if checksum == _checksum(model, digest.hex(), data):
                found[digest.hex()] = unit(np.frombuffer(data, "<f2")[None])[0]
                if now - used > _STAMP_SECONDS:
                    old.append((model, digest))
    database.executemany(f"UPDATE embeddings SET used = {now} WHERE model = ? AND sha256 = ?", old)
    return found


def _marks(values: Sequence[bytes]) -> str:
    return ",".join("?" * len(values))


def _checksum(model: str, digest: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{model} {digest}".encode()))
