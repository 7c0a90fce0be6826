"""Jobs whose features are stored: of made-up rows, and of small photographs, as workers make them."""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np

from coordinator.sources.listing import PathDigest
from shared.images.location import Location
from shared.images.paths import to_text
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.manifest import Chunk, Manifest, Source, write_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import checkpoint, ledger
from shared.job.partition.checkpoint import ImageRow
from shared.job.partition.features.reading import open_features
from shared.job.partition.features.record import ImageFeatures
from shared.job.partition.features.wanted import want_features
from tests.support.embedders import DIM, SIZE
from tests.support.make_job import image_path, model_spec, unit
from workers.images.read import read_image


def sha256_of(image: int) -> str:
    """The SHA-256 of a made-up image."""
    return hashlib.sha256(f"image {image}".encode()).hexdigest()


def made_up(image: int) -> bytes:
    """The features of a made-up image, as long as its id says; every seventh says nothing by its PDQ."""
    rng = np.random.default_rng(image)
    return ImageFeatures(rng.bytes(32), 10 if image % 7 == 0 else 90, rng.bytes(40 + image)).to_bytes()


def commit_featured(
    job: OpenJob, *chunks: Chunk, failed: Collection[int] = (), without: Collection[int] = (), featured: bool = True
) -> None:
    """Commit chunks of made-up rows with their features, but for the images `without`; or with none at all."""
    vectors = unit(np.random.default_rng(0).normal(size=(job.listed, job.manifest.model.dim or 1))).astype(np.float16)
    for chunk in chunks:
        span = range(chunk.start, chunk.stop)
        rows = [_row(image, failed=image in failed) for image in span]
        good = [image for image in span if image not in failed]
        features = [None if image in failed or image in without else made_up(image) for image in span]
        checkpoint.commit_chunk(job, chunk, rows, vectors[good], 0.1, features=features if featured else None)


def seal_featured(job: OpenJob, number: int, failed: Collection[int] = (), without: Collection[int] = ()) -> None:
    """Commit all chunks of a partition with features, and seal it."""
    partition = job.partition(number)
    commit_featured(job, *job.chunks(partition), failed=failed, without=without)
    ledger.seal_partition(job, partition)


def _row(image: int, *, failed: bool) -> ImageRow:
    if failed:
        return ImageRow(image, image_path(image), None, None, 3, None, "truncated", "The file ends too early.")
    return ImageRow(image, image_path(image), 8, 8, 300, sha256_of(image), "ok", None)


def photos(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Small photographs with something to see in them, PNG and JPEG in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = [folder / f"{number:03d}.{('png', 'jpg')[number % 2]}" for number in range(count)]
    for path in paths:
        rough = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(rough, (80, 60), interpolation=cv2.INTER_CUBIC))
    return paths


def job_of(
    path: Path, images: Sequence[Path], *, wanted: bool = True, partition_size: int = 12, chunk_size: int = 4
) -> OpenJob:
    """A job of a list of images, which wants their features stored or not."""
    job = JobDir.at(path)
    spec = model_spec(dim=DIM, chunk_size=chunk_size)
    digest = PathDigest()
    texts = list(digest.feed(to_text(str(image)) for image in images))
    source = Source("list", "made up", digest.hexdigest())
    manifest = Manifest(source, spec, len(images), partition_size, chunk_size, 10**6, 10**6)
    for partition in manifest.partitions:
        path_list.write_paths(job, partition, texts[partition.start : partition.stop])
    write_manifest(job, manifest)
    if wanted:
        want_features(job)
    return open_job(job)


def features_alone(image: Path) -> bytes:
    """The features of an image that is read alone, as for the jobs here."""
    found = read_image(Location(str(image)), SIZE, 10**6, 10**6, features=True).features
    assert found is not None
    return found


def stored(job: JobDir) -> dict[int, bytes | None]:
    """The features of the embedded images by their ids; partitions that have none are left out."""
    found: dict[int, bytes | None] = {}
    for seal in ledger.sealed(open_job(job)):
        rows = open_features(JobFiles.of(job), seal, check=True)
        if rows is not None:
            found |= dict(zip(rows.ids.tolist(), rows.column(range(len(rows))), strict=True))
    return found
