"""Measure how long it takes to compare a source of millions of files with what a job knows, in a process of its own.

python -m benchmarks.growth.listing FILES CHANGES FOLDER; prints JSON
"""

import hashlib
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from coordinator.jobs.changes.refresh import refresh
from coordinator.jobs.create import make_or_open
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import Partition, write_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import ledger, sealing
from shared.settings import Settings

_PER_FOLDER: Final = 1_000
_DIM: Final = 8
_BYTES: Final = b"not read"
_PARTITION: Final = 50_000


def main() -> None:
    files, changes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    photos = folder / "photos"
    _write(photos, range(files), _BYTES)
    job = make_or_open(str(photos), JobDir.at(folder / "job"), Settings(partition_size=_PARTITION), lambda count: None)
    # What is embedded is not looked at here, and takes no space.
    write_manifest(job, replace(job.manifest, model=replace(job.manifest.model, dim=_DIM)))
    job = open_job(job)
    for partition in job.partitions:
        ledger.seal_rows(job, partition, _rows(job, partition))
    found: dict[str, Any] = {"files": files, "unchanged": _refreshed(photos, job)}
    _change(photos, files, changes)
    found["changed"] = {"changes": changes} | _refreshed(photos, job)
    print(json.dumps(found | {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def _refreshed(photos: Path, job: OpenJob) -> dict[str, Any]:
    started = time.perf_counter()
    found = refresh(str(photos), JobDir.at(job.path), lambda count: None)
    return {"seconds": round(time.perf_counter() - started, 1), "found": str(found)}


def _change(photos: Path, files: int, changes: int) -> None:
    """Half of the changes are new files, a quarter others in the place of old ones, a quarter are gone."""
    _write(photos, range(files, files + changes // 2), b"new")
    step = files // (changes // 2)
    for turn, number in enumerate(range(0, step * (changes // 2), step)):
        path = _path(photos, number)
        path.write_bytes(b"another image") if turn % 2 else path.unlink()


def _path(photos: Path, number: int) -> Path:
    return photos / f"{number // _PER_FOLDER:04d}" / f"{number:08d}.jpg"


def _write(photos: Path, numbers: range, data: bytes) -> None:
    for number in numbers:
        path = _path(photos, number)
        if number % _PER_FOLDER == 0 or number == numbers.start:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _rows(job: OpenJob, partition: Partition) -> Iterator[tuple[pa.Table, "np.ndarray[Any, Any]"]]:
    """What an embed worker would have written of the files, at once."""
    count = len(partition)
    columns = {
        "id": pa.array(np.arange(partition.start, partition.stop)),
        "image_path": pa.array(path_list.read_paths(job, partition)),
        "width": pa.array(np.full(count, 8, np.int32)),
        "height": pa.array(np.full(count, 8, np.int32)),
        "bytes": pa.array(np.full(count, len(_BYTES))),
        "sha256": pa.array([hashlib.sha256(_BYTES).hexdigest()] * count),
        "status": pa.array(["ok"] * count),
        "error_message": pa.nulls(count, pa.string()),
    }
    names = [*sealing.METADATA_SCHEMA.names, "status", "error_message"]
    yield pa.table({name: columns[name] for name in names}), np.zeros((count, _DIM), np.float16)


if __name__ == "__main__":
    main()
