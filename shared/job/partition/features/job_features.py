"""The stored features of a whole job, mapped: of an image by its id, and all PDQs."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.job.local.job_files import JobFiles
from shared.job.partition.features.files import FeatureRows
from shared.job.partition.features.reading import open_features
from shared.job.partition.features.record import ImageFeatures
from shared.job.partition.ledger import Seal


@dataclass(frozen=True, slots=True)
class JobFeatures:
    """The features of the sealed partitions of a job that have them. Several threads may read at once.

    `lacking` are the numbers of the partitions that have none of this version: of their images nothing is stored.
    """

    lacking: Sequence[int]
    _parts: Sequence[tuple[int, FeatureRows]]  # Of each the first id of its partition, in their order.
    _files: JobFiles  # With it go the copies that are mapped, of a job in a store.

    @classmethod
    def open(cls, job_files: JobFiles, seals: Sequence[Seal]) -> "JobFeatures":
        """Map the features of these partitions; CorruptFile when a file is not as large as its marker says."""
        parts: list[tuple[int, FeatureRows]] = []
        lacking: list[int] = []
        for seal in sorted(seals, key=lambda seal: seal.start):
            rows = open_features(job_files, seal)
            if rows is None:
                lacking.append(seal.partition)
            else:
                parts.append((seal.start, rows))
        return cls(tuple(lacking), tuple(parts), job_files)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._parts)

    def of(self, image_id: int) -> ImageFeatures | None:
        """The features of an image; None where none are stored. Raises CorruptFile when their checksum is wrong."""
        place = bisect_right(self._parts, image_id, key=lambda part: part[0]) - 1
        if place < 0:
            return None
        rows = self._parts[place][1]
        row = rows.row_of(image_id)
        return None if row is None else rows.features(row)

    def hashes(self) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint8]]:
        """The PDQs of all images that have one: ids int64 [n] ascending, hashes uint8 [n, 32], qualities uint8 [n].

        They are copied: some 41 bytes an image.
        """
        ids = [np.empty(0, np.int64)]
        hashes = [np.empty((0, 32), np.uint8)]
        quality = [np.empty(0, np.uint8)]
        for _, rows in self._parts:
            there = np.flatnonzero(rows.table["bytes"])
            ids.append(rows.table["id"][there])
            hashes.append(rows.table["pdq"][there])
            quality.append(rows.table["quality"][there])
        return np.concatenate(ids), np.concatenate(hashes), np.concatenate(quality)
