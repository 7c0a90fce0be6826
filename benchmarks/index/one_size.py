"""Measure one size of the index benchmark: features to files, a job from them, its builds one after the other."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.index.peers import PEERS
from benchmarks.support.features import Features, Recipe
from benchmarks.support.made_jobs import FRESH, imported, step, write_features
from benchmarks.support.processes import run_module
from benchmarks.support.queries import Queries
from shared.errors import LookalikeError
from shared.job.directory import JobDir

COPIES: Final = 100

HNSW_MOST: Final = 500_000
"""Embeddings up to which the graph is measured: beyond, building it takes most of the run."""

_BUILDS = (("ivf-pq", 0.99), ("ivf-pq", 0.997), ("rabitq", 0.99), ("hnsw", 0.99))
_CROWDED_BUILDS = (("ivf-pq", 0.99), ("rabitq", 0.99))

Log = Callable[[str], None]


def measure(
    folder: Path, rows: int, dim: int, log: Log, *, crowded: bool = False, peer_seconds: float | None = None
) -> dict[str, Any]:
    """Everything about `rows` features: our builds, exact search, the article's; peers where they are given time.

    Of a `crowded` collection no more than two builds and exact search.
    """
    source = Features(dim, rows, recipe=Recipe(crowded=crowded))
    log(f"{rows:,}: features")
    given = write_features(source, folder / "given")
    queries = folder / "queries.npz"
    Queries.make(source, FRESH, COPIES).save(queries)
    log(f"{rows:,}: import")
    found: dict[str, Any] = {"rows": rows, "dim": dim, "crowded": crowded, "load": round(os.getloadavg()[0], 2)}
    job, found["import"] = imported(folder, rows, given)
    log(f"{rows:,}: exact truth")
    found["truth"] = step("truth", job, queries)
    found["builds"] = []
    for family, recall in _CROWDED_BUILDS if crowded else _BUILDS:
        if family != "hnsw" or rows <= HNSW_MOST:
            log(f"{rows:,}: {family}, recall {recall}")
            built = step("merge", job, family, str(recall))
            searched = step("search", job, built["build"], queries)
            found["builds"].append({"family": family, "recall_wanted": recall} | built | {"search": searched})
    first = found["builds"][0]["build"]
    log(f"{rows:,}: exact search")
    found["exact"] = step("exact", job, first, queries)
    if not crowded:
        log(f"{rows:,}: the article's parameters")
        found["article"] = step("article", job, first, queries)
    if peer_seconds is not None:
        found["peers"] = [_peer(name, job, queries, peer_seconds, log) for name in PEERS]
    shutil.rmtree(job.path)
    return found


def _peer(name: str, job: JobDir, queries: Path, seconds: float, log: Log) -> dict[str, Any]:
    log(f"peer: {name}")
    try:
        made: dict[str, Any] = run_module("benchmarks.index.peers", name, job.path, queries, seconds=seconds)
    except LookalikeError as error:
        # Its last line is what the peer itself said; paths of this machine stay out of the results.
        reason = (
            str(error).strip().splitlines()[-1].replace("benchmarks.index.peers", "It").replace(str(job.path), "JOB")
        )
        log(f"peer: {name} failed: {reason}")
        return {"peer": name, "failed": reason[:300]}
    return made
