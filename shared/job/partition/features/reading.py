"""Open the features of a sealed partition, of a job on a disk or in a store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import CorruptFile
from shared.job.local.job_files import JobFiles
from shared.job.partition.features.files import ROW, FeatureRows
from shared.job.partition.features.marker import FeaturesSeal, usable_features
from shared.job.partition.ledger import Seal
from shared.storage import files


def open_features(
    job_files: JobFiles, seal: Seal, marker: FeaturesSeal | None = None, *, check: bool = False
) -> FeatureRows | None:
    """The features of a sealed partition, mapped; None where it has no usable ones.

    With `check` the bytes are compared with the marker. Raises CorruptFile when a file is not what was written.
    """
    job = job_files.job
    marker = marker or usable_features(job, seal)
    if marker is None:
        return None
    names = ((path, marker.files[path.relative_to(job.path).as_posix()]) for path in job.features_files(seal.partition))
    paths = job_files.all_local(names, compare=_compare if check else None)
    return FeatureRows.open(paths[0], paths[1], marker.rows)


class Hashes(NamedTuple):
    """The PDQs of a partition: of the images `ids`, int64 [n] ascending, uint8 [n, 32], with qualities, uint8 [n]."""

    ids: NDArray[np.int64]
    pdqs: NDArray[np.uint8]
    quality: NDArray[np.uint8]


def read_hashes(job_files: JobFiles, seal: Seal, marker: FeaturesSeal) -> Hashes:
    """Copies of the PDQs of a sealed partition, some 41 bytes an image, of those images that have one.

    The local features beside them are not touched: of a job in a store they stay there. The bytes are compared with the
    marker; raises CorruptFile where they are not what was written.
    """
    path = job_files.job.features_files(seal.partition)[0]
    entry = marker.files[path.relative_to(job_files.job.path).as_posix()]
    try:
        table = np.load(job_files.local(path, entry, compare=_compare), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptFile(f"The features {path} can't be read ({error}).") from None
    if table.dtype != ROW or table.shape != (marker.rows,):
        raise CorruptFile(f"The features {path} have not the {marker.rows:,} rows that their marker says.")
    there = table[table["bytes"] > 0]
    return Hashes(*(np.ascontiguousarray(there[name]) for name in ("id", "pdq", "quality")))


def _compare(path: Path, entry: Mapping[str, Any]) -> None:
    try:
        if path.stat().st_size == entry["bytes"] and files.sha256_of(path) == entry["sha256"]:
            return
    except FileNotFoundError:
        pass
    raise CorruptFile(f"The features {path} are missing, or have another checksum than their marker says.")
