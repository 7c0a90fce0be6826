"""Builds that still hold images of which a compaction left nothing else."""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pyarrow as pa

from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.opened import OpenJob
from shared.storage.stores import StorePath


def holds_purged(job: OpenJob, build: str) -> bool:
    """Whether the list of the images of a build, which has their paths, names one that was purged.

    False for a list that is not there or can't be read: that is for others to say.
    """
    if not len(job.state.purged):
        return False
    path = job.build_dir(build) / builds.IMAGES_FILE
    with suppress(FileNotFoundError, pa.ArrowException):
        source = pa.py_buffer(path.read_bytes()) if isinstance(path, StorePath) else pa.memory_map(str(path))
        reader = pa.ipc.open_file(source)
        column = reader.schema.get_field_index("id")
        return column >= 0 and any(
            np.isin(reader.get_batch(number).column(column).to_numpy(), job.state.purged).any()
            for number in range(reader.num_record_batches)
        )
    return False


def outlived(job: OpenJob) -> Iterator[IndexInfo]:
    """The builds that hold what was purged and that nothing needs any more: all but the promoted one.

    None as long as the promoted one holds such images itself: until another is built, one of these may have to serve.
    """
    current = builds.current_build(job)
    if current is None or holds_purged(job, current):
        return
    for info in builds.whole_builds(job):
        if info.build != current and holds_purged(job, info.build):
            yield info
