"""One size of the index benchmark: features to files, a job from them, its builds measured one after the other."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.features import BLOCK, Features
from benchmarks.index_queries import Queries
from benchmarks.peers import PEERS
from benchmarks.processes import run_module
from shared.errors import LookalikeError
from shared.jobdir import JobDir

FILE_ROWS: Final = 12 * BLOCK
FRESH: Final = 400
COPIES: Final = 100

HNSW_MOST: Final = 500_000
"""Embeddings up to which the graph is measured: beyond, building it takes most of the run."""

_BUILDS = (("ivf-pq", 0.99), ("ivf-pq", 0.997), ("rabitq", 0.99), ("hnsw", 0.99))

Log = Callable[[str], None]


def measure(folder: Path, rows: int, dim: int, peer_seconds: float | None, log: Log) -> dict[str, Any]:
    """Everything about `rows` features: our builds, exact search, the article's; peers where they are given time."""
    source = Features(dim)
    log(f"{rows:,}: features")
    given = write_features(source, folder / "features", rows, folder / f"given{rows}")
    job = JobDir.at(folder / "jobs" / str(rows))
    job.jobs_root.mkdir(exist_ok=True)
    queries = folder / "queries.npz"
    Queries.make(source, rows, FRESH, COPIES).save(queries)
    log(f"{rows:,}: import")
    found: dict[str, Any] = {"rows": rows, "dim": dim, "load": round(os.getloadavg()[0], 2)}
    found["import"] = _step("import", job, given)
    shutil.rmtree(given)
    log(f"{rows:,}: exact truth")
    found["truth"] = _step("truth", job, queries)
    found["builds"] = []
    for family, recall in _BUILDS:
        if family != "hnsw" or rows <= HNSW_MOST:
            log(f"{rows:,}: {family}, recall {recall}")
            built = _step("merge", job, family, str(recall))
            searched = _step("search", job, built["build"], queries)
            found["builds"].append({"family": family, "recall_wanted": recall} | built | {"search": searched})
    first = found["builds"][0]["build"]
    log(f"{rows:,}: exact search")
    found["exact"] = _step("exact", job, first, queries)
    log(f"{rows:,}: the article's parameters")
    found["article"] = _step("article", job, first, queries)
    if peer_seconds is not None:
        found["peers"] = [_peer(name, job, queries, peer_seconds, log) for name in PEERS]
    shutil.rmtree(job.path)
    return found


def write_features(source: Features, kept: Path, rows: int, given: Path) -> Path:
    """A folder `given` of .npy files that together hold the first `rows` features, float16 [n, dim].

    Whole files lie in `kept` as well, under another name for the same bytes, for the next size.
    """
    kept.mkdir(exist_ok=True)
    given.mkdir()
    for number, start in enumerate(range(0, rows, FILE_ROWS)):
        whole, count = kept / f"features_{number:04d}.npy", min(FILE_ROWS, rows - start)
        if not whole.is_file():
            blocks = range(start // BLOCK, (start + count - 1) // BLOCK + 1)
            made = np.concatenate([source.block(block) for block in blocks])[:count]
            if count < FILE_ROWS:
                np.save(given / whole.name, made)
                continue
            aside = whole.with_suffix(".aside")
            with open(aside, "wb") as file:
                np.save(file, made)
            aside.rename(whole)
        if count == FILE_ROWS:
            (given / whole.name).hardlink_to(whole)
        else:
            np.save(given / whole.name, np.load(whole, mmap_mode="r")[:count])
    return given


def _step(step: str, job: JobDir, *arguments: str | Path) -> Any:
    return run_module("benchmarks.index_once", step, job.path, *arguments)


def _peer(name: str, job: JobDir, queries: Path, seconds: float, log: Log) -> dict[str, Any]:
    log(f"peer: {name}")
    try:
        made: dict[str, Any] = run_module("benchmarks.peers", name, job.path, queries, seconds=seconds)
    except LookalikeError as error:
        # Its last line is what the peer itself said; paths of this machine stay out of the results.
        reason = str(error).strip().splitlines()[-1].replace("benchmarks.peers", "It").replace(str(job.path), "JOB")
        log(f"peer: {name} failed: {reason}")
        return {"peer": name, "failed": reason[:300]}
    return made
