"""Look up what bytes the images of a job had when they were embedded."""

import bisect
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from cachetools import LRUCache

from shared.errors import CorruptFile
from shared.storage.parquet import least_value, read_table

# Of two million images the tables take about 80 MB.
_MOST_BYTES: Final = 128 << 20


@dataclass(frozen=True, slots=True)
class Fact:
    """What an image was when it was embedded: `sha256` of its bytes, and its size in pixels by its header; None where
    nobody knew."""

    sha256: str | None = None
    width: int | None = None
    height: int | None = None


class Facts:
    """What is known of the images of one searcher, from its metadata. Several threads may ask at once.

    A partition's table is read when one of its images is first asked for, and the last used are cached.
    """

    def __init__(self, metadata: Sequence[Path]) -> None:
        """`metadata` are the Parquet files that have a row for each image, ids ascending in and over the files."""
        self._metadata = metadata
        self._firsts: list[int] | None = None
        self._tables: LRUCache[int, _Table] = LRUCache(_MOST_BYTES, getsizeof=lambda table: table.nbytes)
        self._lock = threading.Lock()

    def of(self, image_id: int) -> Fact:
        """What is known of an image; raises CorruptFile when the metadata can't be read or does not have it."""
        with self._lock:  # Each table is read once, however many candidates of a query are in it.
            if self._firsts is None:
                self._firsts = [least_value(path, "id") for path in self._metadata]
            number = bisect.bisect_right(self._firsts, image_id) - 1
            table = self._tables.get(number)
            if table is None and number >= 0:
                table = _Table(self._metadata[number])
                if table.nbytes <= _MOST_BYTES:
                    self._tables[number] = table
        fact = None if table is None else table.of(image_id)
        if fact is None:
            raise CorruptFile(f"The metadata of the job has no row of the image {image_id:,}.")
        return fact


class _Table:
    def __init__(self, path: Path) -> None:
        table = read_table(path, ["id", "sha256", "width", "height"])
        self._ids = table["id"].to_numpy()
        # As bytes they take half of what their digits do.
        digests = (bytes(32) if text is None else bytes.fromhex(text) for text in table["sha256"].to_pylist())
        self._sha256 = b"".join(digests)
        self._sizes = [np.asarray(table[name].fill_null(0).to_numpy(), np.int32) for name in ("width", "height")]
        self.nbytes: int = self._ids.nbytes + len(self._sha256) + sum(size.nbytes for size in self._sizes)

    def of(self, image_id: int) -> Fact | None:
        row = int(np.searchsorted(self._ids, image_id))
        if row == len(self._ids) or self._ids[row] != image_id:
            return None
        digest = self._sha256[32 * row : 32 * row + 32]
        width, height = (int(size[row]) or None for size in self._sizes)
        return Fact(digest.hex() if any(digest) else None, width, height)
