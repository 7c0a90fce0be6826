"""Grow the promoted build by what was sealed since, instead of training and filling an index from scratch."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from shared.errors import CorruptFile, JobMismatch
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.request import IndexRequest
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition.ledger import Seal
from workers.merge.tune import Tuned
from workers.search.width import Width, width_of
from workers.vectors.ann import annoy_index
from workers.vectors.ann.plan import IndexPlan

QUERIES: Final = 100
"""Stored embeddings by which a grown index is measured, at the width of the one that it grew from."""

MOST_GROWTH: Final = 2.0
"""An index of more embeddings than so many times those that it was trained for is trained again: its lists are long,
and the new images may be of other kinds."""

_WORSE_BY: Final = 0.005


@dataclass(frozen=True, slots=True)
class Former:
    """The promoted build that is to grow, its index files on this machine, and how many partitions it covers."""

    info: IndexInfo
    indexes: Sequence[Path]
    partitions: int

    @property
    def trained_for(self) -> int:
        """The embeddings that there were when it was trained."""
        return self.info.trained_for or self.info.ntotal

    def plan(self, fresh: IndexPlan) -> IndexPlan:
        """The plan of the grown index: the one that was built, as wide at the most as that of a `fresh` one."""
        info = self.info
        return replace(
            fresh, factory=info.factory, nlist=info.nlist, nprobe=info.nprobe, m=info.m, nbits=info.nbits,
            train_rows=info.train_rows, most_nprobe=max(info.nprobe, fresh.most_nprobe),
            shards=max(1, len(info.shards)), shard_rows=info.shard_rows,
        )  # fmt: skip

    def begin(self, directory: Path) -> None:
        """Put the index, of one file, into the directory of the new build, to be filled further; what is there already
        stays."""
        if not any((directory / name).exists() for name in (builds.INDEX_FILE, builds.FILLING_FILE)):
            aside = directory / f"{builds.FILLING_FILE}.part"
            shutil.copyfile(self.indexes[0], aside)
            aside.replace(directory / builds.FILLING_FILE)

    @property
    def width(self) -> Width:
        return width_of(self.info)

    def serves(self, tuned: Tuned, request: IndexRequest) -> bool:
        """Whether the grown index finds at its former width what was asked for.

        Not what the former one found: each growth could find a little less than the one before, and none would say so.
        """
        return tuned.measured.recall is None or tuned.measured.recall >= request.recall - _WORSE_BY


def former(
    job: OpenJob, job_files: JobFiles, seals: Sequence[Seal], request: IndexRequest, fresh: IndexPlan
) -> Former | None:
    """The promoted build, where it may grow into one that `fresh` would be the plan of; None where it is built anew.

    It may where it covers the first partitions, was asked for in the same way, is of the same type, which takes more,
    and was trained for at least half of what it is to hold. A build that is damaged does not grow.
    """
    try:
        info = builds.current_info(job)
        covered = None if info is None else builds.covered(info, seals, job.manifest.partition_count)
        if info is None or covered is None or info.fingerprint != job.manifest.model.fingerprint:
            return None
        count = sum(seal.embedded for seal in seals)
        if (
            info.ntotal == count
            or info.wish != request.to_json()
            or info.type != fresh.type
            or count > MOST_GROWTH * (info.trained_for or info.ntotal)
        ):
            return None
        indexes = job_files.all_local(
            ((job.build_dir(info.build) / name, info.files[name]) for name in info.index_files),
            compare=lambda path, entry: builds.check_file(job, path, entry, checksum=True),
        )
        return None if annoy_index.is_one(indexes[0]) else Former(info, indexes, len(covered))
    except (CorruptFile, JobMismatch):
        return None
