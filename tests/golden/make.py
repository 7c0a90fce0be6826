"""Make the golden jobs of a format version: `python -m tests.golden.make VERSION`, or `shards` for an index of shards.

Once a version, then kept.

A job that some release wrote must open for ever; tests/unit/project/test_golden.py opens what is here.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from shared.job.bundle.facts import BUNDLE_FORMAT
from shared.job.changes.log import Change, write_change
from shared.job.index.builds import FORMAT_OF_SHARDS
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.manifest import CHANGED_FORMAT, FORMAT
from shared.job.partition import checkpoint
from shared.job.partition.checkpoint import ImageRow
from shared.settings import Settings
from tests.support.bundles import bundle_of
from tests.support.compactions import compacted, remove
from tests.support.controls import UNWATCHED
from tests.support.make_job import image_path, make_job
from workers.merge.build import merge

HERE = Path(__file__).parent
REMOVED = (5, 14)
REMOVED_OF_BEGUN = (0, 19)
PURGED = 5


def main(version: int) -> None:
    """Write `format_N/finished` (two sealed partitions and an index) and `format_N/begun` (one chunk committed).

    From the format of jobs that were changed on, two images of each are removed, of which one failed or is pending, and
    there is `compacted`, of which one image was purged.
    """
    folder = HERE / f"format_{version}"
    shutil.rmtree(folder, ignore_errors=True)
    finished = make_job(folder / "finished", listed=20, dim=8, failed={3, 14}, partition_size=12, chunk_size=6, seed=1)
    merge(finished.job, Settings(), UNWATCHED)
    begun = make_job(folder / "begun", listed=20, dim=8, partition_size=12, chunk_size=6, seed=2, sealed=[0])
    chunk = begun.job.chunks(begun.job.partition(1))[0]
    rows = [
        ImageRow(image, image_path(image), 8, 8, 300, "0" * 64, "ok", None) for image in range(chunk.start, chunk.stop)
    ]
    rows[1] = ImageRow(chunk.start + 1, image_path(chunk.start + 1), None, None, 0, None, "empty", "The file is empty.")
    vectors = np.eye(8, dtype=np.float16)[: len(rows) - 1]
    checkpoint.commit_chunk(begun.job, chunk, rows, vectors, seconds=0.5)
    if version >= CHANGED_FORMAT:
        for job, removed in ((finished.job, REMOVED), (begun.job, REMOVED_OF_BEGUN)):
            write_change(job, job.manifest, Change(1, "delete", removed=np.array(removed), reasons={"by id": 2}))
        make_compacted(folder / "compacted")


def shards(version: int) -> None:
    """Write `shards_N/finished`, the finished job with an index of three shards, whose index.json has that format."""
    folder = HERE / f"shards_{version}"
    shutil.rmtree(folder, ignore_errors=True)
    finished = make_job(folder / "finished", listed=20, dim=8, failed={3, 14}, partition_size=12, chunk_size=6, seed=1)
    write_index_request(finished.job, IndexRequest(shards=3))
    merge(finished.job, Settings(), UNWATCHED)


def make_compacted(folder: Path) -> None:
    """Write a job of which an image was purged and another one removed since, with the index of before."""
    made = make_job(folder, listed=20, dim=8, failed={3, 14}, partition_size=12, chunk_size=6, seed=1)
    merge(made.job, Settings(), UNWATCHED)
    remove(made.job, PURGED)
    compacted(made.job)
    remove(made.job, 7)


def bundle() -> None:
    """Write `bundle_1`: a bundle of a job like `finished`, with its removed images."""
    folder = HERE / BUNDLE_FORMAT.replace("-", "_")
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as directory:
        job = f"{directory}/finished"
        made = make_job(job, listed=20, dim=8, failed={3, 14}, partition_size=12, chunk_size=6, seed=1)
        merge(made.job, Settings(), UNWATCHED)
        write_change(made.job, made.job.manifest, Change(1, "delete", removed=np.array(REMOVED), reasons={"by id": 2}))
        bundle_of(made.job.renewed(), folder)


if __name__ == "__main__":
    if sys.argv[1] == "shards":
        shards(FORMAT_OF_SHARDS)
    elif sys.argv[1] == BUNDLE_FORMAT:
        bundle()
    else:
        main({FORMAT: FORMAT, CHANGED_FORMAT: CHANGED_FORMAT}[int(sys.argv[1])])
