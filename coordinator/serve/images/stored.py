"""Read images of a job by their ids, and give no other bytes than those that were embedded."""

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from cachetools import LRUCache

from coordinator.serve.problems import Refused
from shared.errors import ImageError
from shared.images.kinds import HEAD_BYTES, is_image
from shared.job import path_list
from shared.job.bundle.stored_image import read_as_embedded
from shared.job.opened import OpenJob
from shared.job.partition import checkpoint, ledger
from shared.storage.parquet import read_table

# The SHA-256 of fifty thousand images take 2 MB.
_TABLES: Final = 16
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Embedded:
    """An image that has an embedding: its id, and what its bytes were."""

    image_id: int
    sha256: str


class StoredImages:
    """The images of jobs; several threads may ask at once."""

    def __init__(self) -> None:
        self._tables: LRUCache[tuple[Path, object], tuple[np.ndarray, list[str | None]]] = LRUCache(_TABLES)
        self._lock = threading.Lock()

    def require(self, job: OpenJob, image_id: int) -> Embedded:
        """An image that has an embedding and was not removed.

        Raises Refused: 404 for an id that was never given, 410 for a removed image, 409 for one that has no embedding,
        or of whose bytes nothing is known, as of most imported vectors.
        """
        require_image(job, image_id)
        ids, digests = self._table(job, image_id)
        row = int(np.searchsorted(ids, image_id))
        if row == len(ids) or ids[row] != image_id:
            raise Refused(409, f"The image {image_id:,} could not be embedded, or is not yet: it is not shown.")
        sha256 = digests[row]
        if sha256 is None or not _SHA256.fullmatch(sha256):
            raise Refused(
                409, f"The job does not know the bytes of the image {image_id:,}, so no file can be taken for it."
            )
        return Embedded(image_id, sha256.lower())

    def read(self, job: OpenJob, image: Embedded) -> bytes:
        """The encoded bytes of an image: those that were embedded, or of a bundle its thumbnail.

        Raises Refused with 410 where the image is not there any more, or another one is in its place.
        """
        partition = job.partition_of(image.image_id)
        location = path_list.read_location(job, partition, image.image_id)
        try:
            data, _ = read_as_embedded(job, image.image_id, location, image.sha256)
        except ImageError as error:
            raise Refused(410, f"The image {image.image_id:,} can't be read: {error}") from None
        if not is_image(data[:HEAD_BYTES]):
            raise Refused(409, f"The file of the image {image.image_id:,} is of no kind of images.")
        return data

    def _table(self, job: OpenJob, image_id: int) -> tuple[np.ndarray, list[str | None]]:
        """The ids of the embedded images of its partition, or of its chunk until that is sealed, and their SHA-256."""
        partition = job.partition_of(image_id)
        path = job.metadata(partition.number)
        if not ledger.is_sealed(job, partition.number):
            return _of_chunk(job, image_id)
        # A retry writes the file anew; in a store it has no stamp, and is read each time.
        stamp = None if job.in_store else path.stat().st_mtime_ns
        key = (path, (job.manifest.identity, stamp))
        with self._lock:
            found = None if stamp is None else self._tables.get(key)
        if found is None:
            table = read_table(path, ["id", "sha256"])
            found = table["id"].to_numpy(), table["sha256"].to_pylist()
            with self._lock:
                self._tables[key] = found
        return found


def require_image(job: OpenJob, image_id: int) -> None:
    """Raise Refused for an id that was never given, 404, and for a removed image, 410."""
    if image_id >= job.listed:
        raise Refused(404, f"The job has the image ids 0 to {job.listed - 1:,}, and none is {image_id:,}.")
    if job.state.is_removed(image_id):
        raise Refused(410, f"The image {image_id:,} was removed from the job.")


def _of_chunk(job: OpenJob, image_id: int) -> tuple[np.ndarray, list[str | None]]:
    chunk = next(one for one in job.chunks(job.partition_of(image_id)) if image_id < one.stop)
    if not job.chunk(chunk.partition, chunk.number).is_file():
        return np.empty(0, np.int64), []
    table, _ = checkpoint.read_chunk(job, chunk)
    rows = [number for number, status in enumerate(table["status"].to_pylist()) if status == "ok"]
    table = table.take(rows)
    return table["id"].to_numpy(), table["sha256"].to_pylist()
