"""Jobs in which images show the same, and the workers of a search for duplicates in the process of the test."""

import random
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.jobs.from_vectors import import_vectors
from coordinator.jobs.runs.duplicates import neighbouring
from coordinator.jobs.runs.duplicates.asking import Work
from coordinator.sources.vectors.vectors import open_vectors
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.messages.duplicates import FindNeighbours
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.source_jobs import sealed
from workers.duplicates.compare import compare_pairs
from workers.duplicates.neighbours import NeighbourSearch, find_neighbours
from workers.merge.build import merge

Picture = npt.NDArray[np.uint8]


def encoded(picture: Picture, suffix: str = ".png", quality: int = 90) -> bytes:
    """An image, RGB uint8 [h, w, 3], as the bytes of a file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    done, data = cv2.imencode(suffix, np.ascontiguousarray(picture[:, :, ::-1]), options)
    assert done
    return data.tobytes()


def photo_job(folder: Path, files: Mapping[str, bytes]) -> OpenJob:
    """A job of these files, in the order of their names, embedded without a model and indexed."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    for name, data in files.items():
        (photos / name).write_bytes(data)
    job = sealed(str(photos), JobDir.at(folder / "job"))
    merge(job, Settings(), UNWATCHED)
    return open_job(job)


def vector_job(
    folder: Path, vectors: npt.NDArray[np.float32], digests: list[str] | None = None, partition_size: int = 25
) -> OpenJob:
    """A job of imported vectors, float32 [n, d], indexed; `digests` are the SHA-256 of their images where there are."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "vectors.npy"
    if digests is None:
        np.save(source, vectors)
    else:
        source = folder / "vectors.parquet"
        columns = {"embedding": pa.array(list(vectors), pa.list_(pa.float32())), "sha256": pa.array(digests)}
        pq.write_table(pa.table({"image_path": [f"{row}.jpg" for row in range(len(vectors))]} | columns), source)
    settings = Settings(partition_size=partition_size)
    opened = open_vectors(str(source), None if digests is None else "embedding")
    job = import_vectors(opened, JobDir.at(folder / "job"), settings, lambda doing, count: None)
    merge(job, settings, UNWATCHED)
    return open_job(job)


@dataclass(slots=True)
class WorkHere:
    """Does the work of a search for duplicates in this process, in an order drawn by `seed`; `parts` are those done."""

    seed: int = 0
    parts: list[str] = field(default_factory=list)
    fail_after: int | None = None

    def __call__(self, job: OpenJob, settings: Settings, work: Work, workers: Any, tell: Any) -> None:
        parts = list(work.parts)
        random.Random(self.seed).shuffle(parts)
        for part in parts:
            if part.lease in work.done():
                continue
            if self.fail_after is not None and len(self.parts) >= self.fail_after:
                raise KeyboardInterrupt
            self.parts.append(part.lease)
            message = part.message
            if isinstance(message, FindNeighbours):
                search = NeighbourSearch.open(job, JobFiles.of(job, settings))
                find_neighbours(job, search, message.partition, UNWATCHED)
            else:
                compare_pairs(job, message.batch, UNWATCHED, 2)
        assert work.done() == {part.lease for part in work.parts}


def work_here(monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> WorkHere:
    """Put this process in the place of workers and broker."""
    here = WorkHere(seed)

    def none(stack: ExitStack, job: OpenJob, settings: Settings, roles: list[str]) -> tuple[Settings, None]:
        assert roles in (["merge"], ["embed"])
        return settings, None

    monkeypatch.setattr(neighbouring, "until_done", here)
    monkeypatch.setattr(neighbouring, "workers_for_index", none)
    return here
