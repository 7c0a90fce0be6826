"""Small sealed jobs for tests, written through the ledger as workers write them."""

import hashlib
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.job import path_list
from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.manifest import Chunk, Manifest, Partition, Source, write_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import checkpoint, ledger
from shared.job.partition.checkpoint import ImageRow
from shared.models import ModelSpec
from shared.models.preprocessing import PREPROCESSING
from shared.storage.stores import StorePath
from tests.support.once import made_once


@dataclass(frozen=True, slots=True, eq=False)
class MadeJob:
    """A job and what is in it: `ids` int64 [N] of the embedded images and their embeddings, float16 [N, d]."""

    job: OpenJob
    ids: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float16]


def unit(vectors: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """`vectors` [n, d] at length 1, float32."""
    array = np.asarray(vectors, dtype=np.float64)
    return np.asarray(array / np.linalg.norm(array, axis=-1, keepdims=True), dtype=np.float32)


def clustered(n: int, d: int, seed: int = 0, clusters: int = 300) -> npt.NDArray[np.float32]:
    """Float32 [n, d] of length 1 that imitates pooled features: no value below 0, a falling spectrum, clusters.

    The clusters depend on the seed alone: other `n` of the same seed are other draws from the same ones.
    """
    rng = np.random.default_rng(seed)
    spread = np.arange(1, d + 1) ** -0.5
    centres = rng.normal(size=(clusters, d)) * spread
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    drawn = centres[rng.integers(clusters, size=n)] + 0.5 * rng.normal(size=(n, d)) * spread
    return unit(np.maximum(drawn @ rotation + 0.05, 0) + 1e-6)


def image_path(image_id: int) -> str:
    """The path that a made job lists for an image id."""
    return f"photos/é {image_id:07d}.jpg"


def model_spec(name: str = "made-up", dim: int = 16, chunk_size: int = 100) -> ModelSpec:
    return ModelSpec(
        name=name,
        weights="packaged",
        weights_sha256="0" * 64,
        image_size=8,
        dim=dim,
        preprocessing=PREPROCESSING,
        chunk_size=chunk_size,
    )


def make_job(
    path: str | Path,
    vectors: npt.ArrayLike | None = None,
    *,
    listed: int = 60,
    dim: int = 16,
    failed: Collection[int] = (),
    partition_size: int = 25,
    chunk_size: int = 10,
    seed: int = 0,
    sealed: Iterable[int] | None = None,
) -> MadeJob:
    """Make a job at `path`, or the URL; `sealed` names the partitions to embed and seal (all of them unless given).

    `vectors` is [listed, d], of any length but 0, and is drawn by `seed` when it is not given. The images whose ids
    are in `failed` get an error row, and their vector is left out. A job on a disk is made once in a run and copied
    from then on, but for its manifest: each has an identity of its own.
    """
    embeddings = unit(np.random.default_rng(seed).normal(size=(listed, dim)) if vectors is None else vectors)
    half = embeddings.astype(np.float16)
    listed, dim = half.shape
    directory = JobDir.at(path)
    manifest = Manifest(
        source=Source("list", "made up", "0" * 64),
        model=model_spec(dim=dim, chunk_size=chunk_size),
        listed=listed,
        partition_size=partition_size,
        chunk_size=chunk_size,
        max_image_pixels=1_000_000,
        max_image_bytes=1_000_000,
    )
    numbers = list(range(manifest.partition_count) if sealed is None else sealed)
    bad = frozenset(failed)
    if isinstance(directory.path, StorePath) or not numbers:
        _fill(directory, manifest, half, numbers, bad)
    else:
        sizes = (half.shape, partition_size, chunk_size, numbers, sorted(bad))
        name = hashlib.sha256(half.tobytes() + repr(sizes).encode()).hexdigest()[:24]
        made = made_once(f"job {name}", lambda folder: _fill(JobDir.at(folder / "job"), manifest, half, numbers, bad))
        shutil.copytree(made / "job", directory.path, dirs_exist_ok=True)
        write_manifest(directory, manifest)
    ids = np.array([image for image in range(listed) if image not in bad], dtype=np.int64)
    return MadeJob(open_job(directory), ids, half[ids])


def _fill(
    directory: JobDir, manifest: Manifest, half: npt.NDArray[np.float16], numbers: list[int], failed: Collection[int]
) -> None:
    """Write the paths and the manifest of a job, and embed and seal these partitions."""
    for partition in manifest.partitions:
        path_list.write_paths(
            directory, partition, [image_path(image) for image in range(partition.start, partition.stop)]
        )
    write_manifest(directory, manifest)
    job = open_job(directory)
    for number in numbers:
        partition = manifest.partition(number)
        commit_chunks(job, half, *job.chunks(partition), failed=failed)
        ledger.seal_partition(job, partition)


def copy_of(made: MadeJob, path: Path) -> MadeJob:
    """A made job as it is now, copied to `path`: its partitions, its changes and its builds."""
    shutil.copytree(made.job.path, path)
    return MadeJob(open_job(JobDir.at(path)), made.ids, made.embeddings)


def commit_chunks(job: OpenJob, vectors: npt.ArrayLike, *chunks: Chunk, failed: Collection[int] = ()) -> None:
    """Commit chunks of a job, whose images have the embeddings `vectors`, [listed, d] of any length but 0."""
    half = unit(vectors).astype(np.float16)
    for chunk in chunks:
        span = range(chunk.start, chunk.stop)
        good = [image for image in span if image not in failed]
        rows = [_row(image, failed=image in failed) for image in span]
        checkpoint.commit_chunk(job, chunk, rows, half[good].reshape(len(good), half.shape[1]), seconds=0.1)


def grow_job(made: MadeJob, vectors: npt.ArrayLike, *, sealed: bool = True) -> MadeJob:
    """Add a partition of images with these embeddings, [n, d] of any length but 0, to a made job, as a change does."""
    job = open_job(made.job)
    half = unit(vectors).astype(np.float16)
    partition = Partition(job.next_number(), job.listed, job.listed + len(half))
    ids = np.arange(partition.start, partition.stop)
    path_list.write_paths(job, partition, [image_path(image) for image in ids.tolist()])
    write_change(job, job.manifest, Change(job.state.number + 1, "refresh", (partition,)))
    job = open_job(job)
    if sealed:
        for chunk in job.chunks(partition):
            span = range(chunk.start, chunk.stop)
            rows = [_row(image, failed=False) for image in span]
            block = half[chunk.start - partition.start : chunk.stop - partition.start]
            checkpoint.commit_chunk(job, chunk, rows, block, seconds=0.1)
        ledger.seal_partition(job, partition)
    return MadeJob(job, np.concatenate([made.ids, ids]), np.concatenate([made.embeddings, half]))


def _row(image: int, *, failed: bool) -> ImageRow:
    if failed:
        return ImageRow(image, image_path(image), None, None, 3, None, "truncated", "The file ends too early.")
    return ImageRow(image, image_path(image), 8, 8, 300, "0" * 64, "ok", None)
