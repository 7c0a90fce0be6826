"""The images that a job holds itself: those that were added as bytes, not by a path."""

from collections.abc import Iterator
from pathlib import Path

from shared.job import path_list
from shared.job.manifest import Partition
from shared.job.opened import OpenJob
from shared.job.source.moved import is_stored, place_of


def stored_images(job: OpenJob, partition: Partition) -> Iterator[tuple[Path, int]]:
    """The places of the images of a partition that the job holds itself, each with its id; purged ones have none.

    Raises CorruptFile for a path list that can't be read; one that can have no such image is not read.
    """
    if any(some.start < partition.stop and partition.start < some.stop for some in job.state.named):
        for image_id, path in enumerate(path_list.read_paths(job, partition), partition.start):
            if is_stored(path):
                yield job.path / place_of(path), image_id
