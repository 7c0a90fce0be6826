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
from shared.job.index.shards import Range, ranges_without
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition.ledger import Seal
from workers.merge.tune import Tuned
from workers.search.candidates.width import Width, width_of
from workers.vectors.ann import annoy_index, faiss_index, index_files
from workers.vectors.ann.plan import IndexPlan
from workers.vectors.embeddings import Rows
from workers.vectors.image_list import Images

QUERIES: Final = 100
"""Stored embeddings by which a grown index is measured, at the width of the one that it grew from."""

MOST_GROWTH: Final = 2.0
"""An index of more embeddings than so many times those that it was trained for is trained again: its lists are long,
and the new images may be of other kinds. So is one of so many times fewer."""

_WORSE_BY: Final = 0.005


@dataclass(frozen=True, slots=True)
class Former:
    """The promoted build that is to grow, and its index files on this machine.

    `known` are the partitions that it covers and that are as they were when it was built, `ranges` the rows that each
    index file has of the embeddings that the job still has. `purged` are the images, int64, that the files may hold
    beside these.
    """

    info: IndexInfo
    indexes: Sequence[Path]
    known: frozenset[int]
    ranges: Sequence[Range]
    purged: Rows

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
            self.put(0, directory / builds.FILLING_FILE)

    def put(self, number: int, target: Path) -> None:
        """Put an index file, without what was purged, into the place of a new build's; what is there already stays.

        Nothing is put there for one that is not what its index.json says: it is filled from its first embedding on.
        """
        if target.exists():
            return
        was, left = len(self.info.ranges[number]), len(self.ranges[number])
        aside = target.with_name(f"{target.name}.part")
        if was == left:
            shutil.copyfile(self.indexes[number], aside)
        else:
            index = faiss_index.load(self.indexes[number], ntotal=was, dim=self.info.dim)
            index_files.remove(index, self.purged)
            if index.ntotal != left:
                return
            faiss_index.save(index, aside)
        aside.replace(target)

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
    and was trained for at least half, and at most twice, of what it is to hold. A build that is damaged does not grow,
    nor does one that holds what was purged and can't give it up.
    """
    try:
        info = builds.current_info(job)
        covered = None if info is None else builds.covered(info, seals, job)
        if info is None or covered is None or info.fingerprint != job.manifest.model.fingerprint:
            return None
        count = sum(seal.embedded for seal in seals)
        trained_for = info.trained_for or info.ntotal
        if (
            info.ledger_digest == builds.ledger_digest(seals)
            or info.wish != request.to_json()
            or info.type != fresh.type
            or count > MOST_GROWTH * trained_for
            or trained_for > MOST_GROWTH * count
        ):
            return None
        indexes = job_files.all_local(
            ((job.build_dir(info.build) / name, info.files[name]) for name in info.index_files),
            compare=lambda path, entry: builds.check_file(job, path, entry, checksum=True),
        )
        if annoy_index.is_one(indexes[0]):
            return None
        # What a compaction wrote was never compared with its seal.
        known = frozenset(seal.partition for seal in covered if job.state.replaced(seal.partition) is None)
        held = sum(seal.embedded for seal in covered)
        if held == info.ntotal:
            return Former(info, indexes, known, info.ranges, job.state.purged)
        if not index_files.gives_up(info.factory, info.dim):
            return None
        ranges = _ranges_left(job, job_files, info)
        if ranges[-1].stop != held or not all(map(len, ranges)):
            return None  # It is not what its index.json says, or nothing is left of a shard.
        return Former(info, indexes, known, ranges, job.state.purged)
    except (CorruptFile, JobMismatch):
        return None


def _ranges_left(job: OpenJob, job_files: JobFiles, info: IndexInfo) -> list[Range]:
    """The rows of each index file, without those of images that were purged since it was built."""
    path = job_files.local(
        job.build_dir(info.build) / builds.IMAGES_FILE,
        info.files[builds.IMAGES_FILE],
        compare=lambda path, entry: builds.check_file(job, path, entry, checksum=True),
    )
    return ranges_without(info.ranges, Images.open_without(path, job.state.purged)[1])
