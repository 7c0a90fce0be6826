"""Jobs made from sources, as `lookalike index` makes them, and embedded without a model."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from coordinator.jobs.create import make_or_open
from coordinator.sources.listing import PathDigest, partitions_of
from coordinator.sources.resolve import open_source
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.identity import new_identity
from shared.job.manifest import Source, load_manifest, write_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import checkpoint, ledger
from shared.job.partition.checkpoint import ImageRow
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.embedders import AnyModel, embed
from tests.support.make_job import make_job, unit
from tests.support.once import made_once
from workers.merge import build as merging

SETTINGS = Settings(partition_size=5, chunk_size=2)
FAILED = (3, 40)
LISTED = 60


def made(source: str, job: JobDir) -> OpenJob:
    """Make the job of a source, or open it: in partitions of five images, and chunks of two."""
    return make_or_open(source, job, SETTINGS, lambda count: None)


def sealed(source: str, job: JobDir) -> OpenJob:
    """Make the job of a source, embed all of it and seal it."""
    job = made(source, job)
    for partition in job.partitions:
        embed(job, partition.number, embedder=AnyModel(job.manifest))
    return job


def job_of_a_list(
    directory: Path,
    *,
    sealed: Iterable[int] = (0, 1, 2),
    chunks: Mapping[int, Iterable[int]] | None = None,
    index: bool = False,
) -> OpenJob:
    """A job of 60 images in partitions of 25 and chunks of 10, made from a list file as `lookalike index` makes it.

    `chunks` names those that are committed of partitions that are not sealed. Each of these jobs is made once in a run
    and copied from then on, but for its manifest: each has a list and an identity of its own.
    """
    sealed = list(sealed)
    wanted = dict.fromkeys(sealed, range(9)) | {number: list(some) for number, some in (chunks or {}).items()}
    name = " ".join(f"{number}-{''.join(map(str, some))}" for number, some in sorted(wanted.items()))
    made = made_once(
        f"list {sealed} {name} {index}", lambda folder: _job_of_a_list(folder, sealed, wanted, index=index)
    )
    photos = shutil.copy(made / "photos.txt", directory)
    shutil.copytree(made / "job", directory / "job", dirs_exist_ok=True)
    job = JobDir(directory / "job")
    manifest = load_manifest(job)
    source = replace(manifest.source, location=open_source(str(photos)).location)
    write_manifest(job, replace(manifest, source=source, identity=new_identity()))
    return open_job(job)


def _job_of_a_list(directory: Path, sealed: list[int], wanted: Mapping[int, Iterable[int]], *, index: bool) -> None:
    photos = directory / "photos.txt"  # Of whole paths, which mean the same wherever it is copied to.
    photos.write_text("".join(f"/photos/é {image:07d}.jpg\n" for image in range(LISTED)))
    made = make_job(directory / "job", listed=LISTED, sealed=[])
    digest = PathDigest()
    listing = open_source(str(photos))
    paths: list[str] = []
    for partition, part in partitions_of(digest.feed(listing), made.job.manifest.partition_size):
        path_list.write_paths(made.job, partition, part)
        paths += part
    manifest = replace(made.job.manifest, source=Source("list", listing.location, digest.hexdigest()))
    write_manifest(made.job, manifest)
    job = open_job(made.job)
    for number, some in wanted.items():
        for chunk in manifest.chunks(manifest.partition(number)):
            if chunk.number in some:
                commit(job, number, chunk.number, paths)
    for number in sealed:
        ledger.seal_partition(job, manifest.partition(number))
    if index:
        merging.merge(job, Settings(), UNWATCHED)


def commit(job: OpenJob, partition: int, number: int, paths: list[str]) -> None:
    """Commit a chunk with the embeddings and the errors that every made job has for these images."""
    chunk = job.chunks(job.partition(partition))[number]
    embeddings = unit(np.random.default_rng(0).normal(size=(LISTED, 16))).astype(np.float16)
    span = range(chunk.start, chunk.stop)
    rows = [
        ImageRow(image, paths[image], None, None, 3, None, "truncated", "It ends too early.")
        if image in FAILED
        else ImageRow(image, paths[image], 8, 8, 300, "0" * 64, "ok", None)
        for image in span
    ]
    good = [image for image in span if image not in FAILED]
    checkpoint.commit_chunk(job, chunk, rows, embeddings[good], seconds=0.1)


def all_paths(job: OpenJob) -> list[str]:
    """The paths that a job lists, in order."""
    return [path for partition in job.partitions for path in path_list.read_paths(job, partition)]
