"""Read the local features that jobs store of their images, those of a partition mapped when first asked for."""

import logging
import threading
from pathlib import Path
from typing import Final

from cachetools import LRUCache, TTLCache

from shared.errors import CorruptFile
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition import ledger
from shared.job.partition.features.files import FeatureRows
from shared.job.partition.features.reading import open_features
from shared.settings import Settings
from workers.verify.features import LocalFeatures

log = logging.getLogger("lookalike.worker")

_PARTITIONS: Final = 256  # Two files each.
_LACKING: Final = 10_000
LACKING_SECONDS: Final = 5.0

_Key = tuple[Path, str, int]


class StoredFeatures:
    """The stored features of the images of jobs. Several threads may ask at once.

    What was mapped stays: an image keeps its bytes, and one that has other bytes is another image of the job. Where a
    job was put back as it once was, the bytes tell. That a partition has none is asked again after some seconds, as
    they may be made meanwhile.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # With the rows goes what holds the copies that they are mapped from, of a job in a store.
        self._mapped: LRUCache[_Key, tuple[FeatureRows, JobFiles]] = LRUCache(_PARTITIONS)
        self._lacking: TTLCache[_Key, None] = TTLCache(_LACKING, LACKING_SECONDS)
        self._lock = threading.Lock()

    def of(self, job: OpenJob, image_id: int, sha256: str | None = None) -> LocalFeatures | None:
        """The features of an image of a job; None where it stores none, they are not as they were written, or they are
        of other bytes than `sha256`, hex, if that is given."""
        try:
            number = job.partition_of(image_id).number
            rows = self._rows(job, number)
            row = None if rows is None else rows.row_of(image_id)
            found = None if rows is None or row is None else rows.features(row, sha256)
            return None if found is None else LocalFeatures.from_bytes(found.local)
        except CorruptFile as error:
            log.warning("%s: %s Its image is decoded instead.", job.job_id, error)
            return None

    def _rows(self, job: OpenJob, number: int) -> FeatureRows | None:
        key = job.path, job.manifest.identity, number
        with self._lock:
            if (known := self._mapped.get(key)) is not None:
                return known[0]
            if key in self._lacking:
                return None
        files = JobFiles.of(job, self._settings)
        rows = open_features(files, ledger.read_seal(job, number)) if ledger.is_sealed(job, number) else None
        with self._lock:
            if rows is None:
                self._lacking[key] = None
            else:
                self._mapped[key] = rows, files
        return rows
