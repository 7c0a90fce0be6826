"""Write the features of a partition of a job into its bundle, without those of removed images."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import pyarrow as pa

from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition.features.files import FEATURES_COLUMN
from shared.job.partition.features.marker import Features, features_of
from shared.job.partition.features.reading import open_features
from shared.job.partition.ledger import Seal

_BLOCK: Final = 4_096


@contextmanager
def features_written(job: OpenJob, bundle: JobDir, seal: Seal, rows: pa.Table) -> Iterator[Features]:
    """Write the features of the images of `rows`, the metadata of a partition of the bundle, and yield what marks them.

    It marks nothing where the job stores none of the partition. Raises CorruptFile where they are damaged.
    """
    stored = open_features(JobFiles.of(job), seal, check=True)
    with features_of(bundle, seal.partition, carried=stored is not None) as features:
        if stored is not None:
            places = np.searchsorted(stored.ids, rows["id"].to_numpy())
            for start in range(0, len(rows), _BLOCK):
                block = rows.slice(start, _BLOCK).select(["id", "sha256"])
                found = pa.array(stored.column(places[start : start + _BLOCK].tolist()), pa.binary())
                block = block.append_column("status", pa.array(["ok"] * len(block)))
                features.take(block.append_column(FEATURES_COLUMN, found))
    yield features
