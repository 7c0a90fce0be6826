"""Compactions of made jobs, what a job answers, and whatever a job still has of an image."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from coordinator.jobs.changes.compacting.plan import Bounds
from coordinator.jobs.changes.compaction import Compacted, compact
from shared.job.changes.log import Change, write_change
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.messages.filter import Filter
from shared.settings import Settings
from workers.search.pool import SearcherPool


def remove(job: JobDir, *ids: int) -> None:
    """Remove images as a change does."""
    opened = open_job(job)
    change = Change(
        opened.state.number + 1, "delete", removed=np.array(sorted(ids), np.int64), reasons={"by id": len(ids)}
    )
    write_change(opened, opened.manifest, change)


def compacted(job: JobDir, bounds: Bounds | None = None) -> Compacted:
    """Compact a job: all of it that can be, unless `bounds` are given."""
    return compact(job, bounds or Bounds(), lambda event: None)


def answers(job: JobDir, queries: npt.NDArray[Any], pool: SearcherPool | None = None) -> list[Any]:
    """What a job answers to `queries`, float [q, d]: by the index, exactly, and among some of its images."""
    searcher = (pool or SearcherPool(Settings())).searcher(job)
    ids = searcher.kept.ids
    ways: Sequence[dict[str, Any]] = ({}, {"exact": True}, {"filter": Filter(ids=ids[::3])})
    found = [hit for way in ways for query in queries for hit in searcher.search(query, 7, **way)]
    return [(hit.rank, hit.id, hit.image_path, hit.similarity) for hit in found]


def traces(job: JobDir, path: str, embedding: npt.NDArray[np.float16]) -> list[str]:
    """The files of a job that hold a path, or an embedding as it is stored or in float32."""
    texts = [path.encode(), json.dumps(path)[1:-1].encode()]
    wanted = [*texts, embedding.astype("<f2").tobytes(), embedding.astype("<f4").tobytes()]
    return [
        file.relative_to(job.path).as_posix()
        for file in sorted(job.path.rglob("*"))
        if file.is_file() and (any(some in file.read_bytes() for some in wanted) or _in_table(file, path, embedding))
    ]


def _in_table(file: Path, path: str, embedding: npt.NDArray[np.float16]) -> bool:
    """Whether a compressed table holds one of them."""
    if file.suffix != ".parquet":
        return False
    values = [value for column in pq.read_table(file).to_pydict().values() for value in column]
    return any(value == path or (isinstance(value, list) and value == embedding.tolist()) for value in values)
