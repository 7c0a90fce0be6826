"""Write the index of a bundle: the promoted one of the job without removed images, and the list of its images."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.errors import CorruptFile, FingerprintMismatch, JobError, NoIndexYet
from shared.errors.remedy import Remedy
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.shards import ranges_without, shard_file
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition.ledger import Seal
from shared.storage import files
from shared.vectors import unit
from workers.merge.export.partition import entry_of
from workers.vectors.ann import carried, faiss_index
from workers.vectors.embeddings import BLOCK_ROWS, Floats, Rows, StoredEmbeddings
from workers.vectors.image_list import Images, sealed_images, write_images

_SAMPLE: Final = 20_000


def promoted(job: OpenJob, seals: Sequence[Seal]) -> tuple[IndexInfo, int]:
    """The promoted build of a job whose partitions are all sealed, and how many of them it covers.

    Raises NoIndexYet and JobError where the job is not there yet, CorruptFile where the build is not of these
    partitions, FingerprintMismatch where it is of another model.
    """
    path = str(job.path)
    if len(seals) < job.partition_count:
        waiting = job.listed - sum(seal.listed for seal in seals)
        done = Remedy(job.manifest.maker, path, "does them", then=Remedy("status", path, "says how far that is"))
        raise JobError(f"{waiting:,} of the {job.listed:,} images of {path} are not sealed yet", remedy=done)
    info = builds.current_info(job)
    if info is None:
        raise NoIndexYet(f"{path} has no index yet", remedy=Remedy(job.manifest.maker, path, "builds it"))
    if info.fingerprint != job.manifest.model.fingerprint:
        raise FingerprintMismatch(
            f"The index {info.build} of {path} was built for the model {info.fingerprint}, but the job is made for "
            f"{job.manifest.model.fingerprint}",
            remedy=builds.built_anew(job),
        )
    covered = builds.covered(info, seals, job)
    if covered is None:
        raise CorruptFile(
            f"The index {info.build} of {path} covers {info.ntotal} embeddings that are not those sealed now",
            remedy=Remedy(job.manifest.maker, path, "builds the index anew"),
        )
    return info, len(covered)


def write_build(
    job: OpenJob, bundle: JobDir, info: IndexInfo, stored: StoredEmbeddings, covered: Sequence[Seal]
) -> IndexInfo:
    """Write the index and the list of its images into `bundle`, and its index.json, which claims no measurement.

    `stored` are the embeddings of the job that can be found, `covered` the seals of the bundle that the index is of.
    Raises JobError when images were removed that the index can't give up, or it has other files than
    is known, CorruptFile when it is damaged.
    """
    if not any(seal.embedded for seal in covered):
        raise JobError(
            f"All images of {job.path} that the index {info.build} holds were removed",
            remedy=Remedy(job.manifest.maker, str(job.path), "builds one of those that are left"),
        )
    if set(info.files) != {*info.index_files, builds.IMAGES_FILE}:
        raise JobError(
            f"The index {info.build} of {job.path} is of the files {', '.join(sorted(info.files))}, and a bundle "
            f"carries one of {builds.IMAGES_FILE} and {', '.join(info.index_files)} alone",
            remedy=builds.built_anew(job),
        )
    job_files = JobFiles.of(job)
    made = dict(
        zip(
            info.files,
            job_files.all_local(
                ((job.build_dir(info.build) / name, entry) for name, entry in info.files.items()),
                compare=lambda path, entry: builds.check_file(job, path, entry, checksum=True),
            ),
            strict=True,
        )
    )
    held = Images.open(made[builds.IMAGES_FILE]).ids
    directory = bundle.build_dir(info.build)
    changed = _index(job, info, [made[name] for name in info.index_files], directory, held, stored)
    write_images(directory / builds.IMAGES_FILE, sealed_images(bundle, covered))
    info = replace(info, **changed)
    info = replace(
        info,
        ntotal=sum(seal.embedded for seal in covered),
        ledger_digest=builds.ledger_digest(covered),
        files={name: entry_of(directory / name) for name in (*info.index_files, builds.IMAGES_FILE)},
        recall_at_10=None,
        recall_queries=0,
        wish=None,
        accuracy_at_10={},
        accuracy_copies=0,
        sweep=[],
        former="",
        grown_from="",
    )
    builds.write_info(bundle, info)
    return info


def promote(bundle: JobDir, info: IndexInfo) -> None:
    """Write index.json again with what was measured, and make the build the one that is searched."""
    builds.write_info(bundle, info)
    builds.promote(bundle, info.build)


def _index(
    job: OpenJob, info: IndexInfo, paths: Sequence[Path], directory: Path, held: Rows, stored: StoredEmbeddings
) -> dict[str, Any]:
    """Write the index, of one file or of shards; returns what is otherwise about it than in the job's index.json."""
    lacks = job.state.lacks(held)
    ranges = ranges_without(info.ranges, np.flatnonzero(lacks))
    left = [number for number, rows in enumerate(ranges) if len(rows)]  # Of the others nothing is to be found.
    for place, number in enumerate(left):
        rows = info.ranges[number]
        index = faiss_index.load(paths[number], ntotal=len(rows), dim=info.dim)
        if carried.is_flat(index):
            del index  # It holds whole embeddings, which may be gigabytes. Half a byte a value needs no shards.
            some = stored.rows_of(held[~lacks])
            coded = carried.coded_flat(info.dim, _sample(stored, some), _blocks(stored, some))
            faiss_index.save(coded, directory / builds.INDEX_FILE)
            return {
                "type": "SQ4", "factory": carried.FLAT_CODES, "format": builds.FORMAT, "shards": [], "shard_rows": 0,
            }  # fmt: skip
        target = directory / (shard_file(place) if info.shards else builds.INDEX_FILE)
        _without(job, info, index, paths[number], target, held[rows.start : rows.stop][lacks[rows.start : rows.stop]])
    return {"shards": [list(ranges[number]) for number in left]} if info.shards else {}


def _without(job: OpenJob, info: IndexInfo, index: Any, path: Path, target: Path, removed: Rows) -> None:
    """Write an index file without the images that were removed, int64 ids."""
    if not len(removed):
        with files.written_aside(target) as aside:
            shutil.copyfile(path, aside)
        return
    if not carried.without(index, removed):
        raise JobError(
            f"The index of {job.path} holds {len(removed):,} images that were removed, and one of the type {info.type} "
            "can't give them up, so that they would be in the bundle",
            remedy=Remedy(job.manifest.maker, str(job.path), "with {} builds one that can", given={"index": "ivf-pq"}),
        )
    faiss_index.save(index, target)


def _sample(stored: StoredEmbeddings, rows: Rows) -> Floats:
    return unit(stored.rows(rows[np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(np.int64)]))


def _blocks(stored: StoredEmbeddings, rows: Rows) -> Iterator[tuple[Rows, Floats]]:
    for start in range(0, len(rows), BLOCK_ROWS):
        some = rows[start : start + BLOCK_ROWS]
        yield stored.ids[some], unit(stored.rows(some))
        stored.release()
