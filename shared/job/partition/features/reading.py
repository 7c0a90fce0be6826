"""Open the features of a sealed partition, of a job on a disk or in a store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import CorruptFile
from shared.job.local.job_files import JobFiles
from shared.job.partition.features.files import FeatureRows
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


def _compare(path: Path, entry: Mapping[str, Any]) -> None:
    try:
        if path.stat().st_size == entry["bytes"] and files.sha256_of(path) == entry["sha256"]:
            return
    except FileNotFoundError:
        pass
    raise CorruptFile(f"The features {path} are missing, or have another checksum than their marker says.")
