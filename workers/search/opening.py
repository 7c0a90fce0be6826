"""Open what is searched of a job: what a build covers and what was sealed since, or else all that is embedded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import CorruptFile, FingerprintMismatch
from shared.errors.remedy import Remedy
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.calibration import Calibration, calibration_of, none_measured
from shared.job.index.shards import Range
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob
from shared.job.partition import committed, ledger
from shared.job.source.moved import read_moved
from shared.messages.search import Searched
from shared.messages.shards import Held, SearchedShards
from workers.search.filtering.filters import Filters
from workers.search.kept import HeldShards, Kept, Part
from workers.vectors.codes import stored_kind
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.image_list import Images
from workers.vectors.parts import Found, Parts, find_parts


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """What is searched of a job, and how much of it that is.

    `parts` are kept as long as this is, as their files are removed with them; they are of the partitions behind those
    that are `covered` by a build, whose embeddings are the first `held`. `index` is that of the shards that are held,
    None where there is none; it is loaded when it is asked for. `calibration` is what was measured of the build.
    """

    stored: StoredEmbeddings
    images: Images
    kept: Kept
    filters: Filters
    searched: Searched
    parts: Parts
    calibration: Calibration
    covered: frozenset[int] = frozenset()
    held: int = 0
    index: Callable[[], Any] = lambda: None


def open_build(files: JobFiles, job: OpenJob, info: IndexInfo, known: Parts | None, held: Held | None = None) -> Opened:
    """What a build covers, and what was sealed or committed since; of the images those in the shards that are `held`.

    `known` are the parts that are open beside this build; None where it is not open, and its files are compared.
    Raises as `Searcher.open` does.
    """
    if info.fingerprint != job.manifest.model.fingerprint:
        raise FingerprintMismatch(
            f"The index {info.build} of {job.path} was built for the model {info.fingerprint}, but the job is made for "
            f"{job.manifest.model.fingerprint}",
            remedy=builds.built_anew(job),
        )
    seals = list(ledger.sealed(job))
    covered = builds.covered(info, seals, job)
    if covered is None:
        raise CorruptFile(
            f"The index {info.build} of {job.path} covers {info.ntotal} embeddings that are not those sealed now",
            remedy=Remedy(job.manifest.maker, str(job.path), "builds the index anew"),
        )
    shards = HeldShards(info, held)
    if missing := {*info.index_files, builds.IMAGES_FILE} - info.files.keys():
        raise CorruptFile(
            f"{job.build_dir(info.build) / builds.INFO_FILE} names no {' and no '.join(sorted(missing))}",
            remedy=builds.built_anew(job),
        )
    made = files.all_local(
        ((job.build_dir(info.build) / name, info.files[name]) for name in shards.files),
        compare=lambda path, entry: builds.check_file(job, path, entry, checksum=known is None),
    )
    paths = dict(zip(shards.files, made, strict=True))
    found = find_parts(files, job, known or {}, len(covered))
    parts = list(found.parts.values())
    metadata = files.all_local(
        (job.metadata(seal.partition), seal.entry(job, job.metadata(seal.partition)))
        for seal in covered
        if seal.embedded
    )
    images, gone = Images.open_without(
        paths[builds.IMAGES_FILE], job.state.purged, read_moved(job), [part.images for part in parts]
    )
    stored = stored_kind(job).open(files, covered, images.ids, [part.vectors for part in parts])
    metadata += [part.metadata for part in parts if len(part.images)]
    part = shards.part(gone, len(stored))
    # The index still gives what was purged since it was built.
    kept = Kept(stored, job.state.removed, whole=not len(gone), among=part.rows)
    return replace(
        _opened(job, stored, images, metadata, found, kept, part.shards, _calibration(job, info)),
        covered=frozenset(seal.partition for seal in covered),
        held=sum(seal.embedded for seal in covered),
        index=lambda: shards.load(paths),
    )


def open_parts(files: JobFiles, job: OpenJob, known: Parts, held: Held | None = None) -> Opened:
    """What is sealed or committed of a job that has no index yet; the parts that are `known` are not read again.

    It counts as shard 0, as an index of one file does, so that one group answers where workers hold shards.
    Raises NoIndexYet when that is no embedding at all, and as `find_parts` does.
    """
    found = find_parts(files, job, known)
    parts = list(found.parts.values())
    if not any(len(part.images) for part in parts):
        raise committed.nothing_embedded(job, _searched(job, found.pending).images)
    dims = {part.vectors.shape[1] for part in parts if len(part.images)}
    if len(dims) > 1:
        raise CorruptFile(f"The embeddings of {job.path} have {sorted(dims)} dimensions where one is needed.")
    images = Images([part.images for part in parts], read_moved(job))
    stored = stored_kind(job)([part.vectors for part in parts if len(part.images)], images.ids, dims.pop(), files)
    metadata = [part.metadata for part in parts if len(part.images)]
    part = Part.of(held, "", [Range(0, len(stored))])
    kept = Kept(stored, job.state.removed, among=part.rows)
    none = none_measured(
        "", job.manifest.model.fingerprint, "Chances are measured with the index, which is not there yet."
    )
    return _opened(job, stored, images, metadata, found, kept, part.shards, none)


def _calibration(job: OpenJob, info: IndexInfo) -> Calibration:
    """What was measured of a build, or why nothing was."""
    if job.manifest.bundle is not None:
        return none_measured(
            info.build, info.fingerprint, "A bundle takes along nothing of what was measured of its job."
        )
    return calibration_of(job, info)


def _opened(
    job: OpenJob,
    stored: StoredEmbeddings,
    images: Images,
    metadata: Sequence[Path],
    found: Found,
    kept: Kept,
    shards: SearchedShards | None,
    calibration: Calibration,
) -> Opened:
    stored.expect_scattered_reads()
    # Of all shards, so that all who hold some say the same of a filter.
    ids = kept.ids if kept.is_all else Kept(stored, job.state.removed).ids
    filters = Filters(ids, metadata, np.array(found.pending, np.int64).reshape(-1, 2))
    searched = replace(_searched(job, found.pending), shards=shards)
    return Opened(stored, images, kept, filters, searched, found.parts, calibration)


def _searched(job: OpenJob, pending: Sequence[tuple[int, int]]) -> Searched:
    return Searched(job.listed - committed.count_pending(job, pending), job.listed)
