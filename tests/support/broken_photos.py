"""Fifty images of which five are broken, to be mended; and their job, embedded without a model."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

from shared.images.paths import to_text
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import Manifest, Source, write_manifest
from shared.job.opened import OpenJob, open_job
from tests.support.embedders import DIM, FakeEmbedder, embed
from tests.support.make_job import model_spec

FAILED = {3: "empty", 20: "not-an-image", 21: "truncated", 30: "vanished", 33: "truncated"}
COUNTS = Counter({"truncated": 2, "empty": 1, "not-an-image": 1, "vanished": 1})


def broken_photos(folder: Path) -> list[Path]:
    """Fifty images in `folder` of which those in FAILED are none; `mend` makes them what they were to be."""
    photos = folder / "photos"
    photos.mkdir()
    rng = np.random.default_rng(1)
    paths = [photos / f"{number:02d}.{('png', 'jpg')[number % 2]}" for number in range(50)]
    for path in paths:
        cv2.imwrite(str(path), rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    shutil.copytree(photos, folder / "whole")
    paths[3].write_bytes(b"")
    paths[20].write_bytes(b"this is no image")
    for number in (21, 33):
        paths[number].write_bytes(paths[number].read_bytes()[:-200])
    paths[30].unlink()
    return paths


def mend(photos: list[Path], *numbers: int) -> None:
    """Make these images whole, all where none is named."""
    for number in numbers or FAILED:
        shutil.copy(photos[number].parent.parent / "whole" / photos[number].name, photos[number])


def made(place: str | Path, photos: list[Path], **known: Any) -> OpenJob:
    """A job of 50 images in two partitions of 30 and 20, in chunks of 10."""
    job = JobDir.at(place)
    source = Source("list", "made up", "0" * 64, **known)
    manifest = Manifest(source, model_spec(dim=DIM, chunk_size=10), len(photos), 30, 10, 10**6, 10**6)
    for partition in manifest.partitions:
        path_list.write_paths(job, partition, [to_text(str(p)) for p in photos[partition.start : partition.stop]])
    write_manifest(job, manifest)
    return open_job(job)


def embedded(job: OpenJob) -> int:
    """Embed and seal what is not sealed; how many images went through the model."""
    embedder = FakeEmbedder()
    for number in range(job.partition_count):
        embed(job, number, embedder=embedder)
    return sum(embedder.batches)


def statuses(job: OpenJob) -> dict[int, str]:
    """How each failed image failed, by its id."""
    rows = [row for number in (0, 1) for row in pq.read_table(job.errors(number)).to_pylist()]
    return {row["id"]: row["status"] for row in rows}
