"""Measure other libraries' indexes over the same vectors and queries, each in a process of its own.

python -m benchmarks.index.peers NAME JOB QUERIES; prints JSON
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import pyarrow as pa

from benchmarks.support.features import Floats
from benchmarks.support.processes import own_memory
from benchmarks.support.queries import K, Queries
from benchmarks.support.timing import percentiles_of_runs
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.vectors import widen
from workers.vectors.embeddings import StoredEmbeddings

RUNS = 3
_DEPTH = 1_000
_PAIRS_PER_INSERT = 5_000
_SLOW_SECONDS = 30.0
_FEW = 50


class Found(NamedTuple):
    """One way to ask a peer: what was set, and a function from a vector, float32 [d], to row numbers, best first."""

    setting: str
    search: Callable[[Floats], Any]


Built = Iterator[Found]


def main() -> None:
    name, job, path = sys.argv[1:]
    queries = Queries.load(Path(path))
    directory = JobDir.at(Path(job))
    stored = StoredEmbeddings.open(JobFiles.of(directory), list(ledger.sealed(open_job(directory))))
    vectors = np.concatenate([widen(block) for _, block in stored.blocks()])
    distribution, build = PEERS[name]
    before = own_memory()
    with tempfile.TemporaryDirectory(prefix="lookalike-peer-") as folder:
        started = time.perf_counter()
        ways = build(vectors, stored, Path(folder))
        first = next(ways)
        seconds = time.perf_counter() - started
        result = {
            "peer": name,
            "version": version(distribution),
            "load": round(os.getloadavg()[0], 2),
            "build_seconds": round(seconds, 1),
            "memory_bytes": max(own_memory() - before, 0),
            "disk_bytes": sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()),
            "searched": [_measured(first, queries), *(_measured(way, queries) for way in ways)],
        }
    print(json.dumps(result))


def _measured(way: Found, queries: Queries) -> dict[str, Any]:
    found = np.full((len(queries.vectors), K), -1, np.int64)
    began = time.perf_counter()
    for row, vector in zip(found, queries.vectors, strict=True):
        ids = np.asarray(way.search(vector), np.int64)[:K]
        row[: len(ids)] = ids
    runs: list[list[float]] = []
    # One that compares everything takes so long that it can't be the machine that decides.
    slow = time.perf_counter() - began > _SLOW_SECONDS
    for _ in range(1 if slow else RUNS):
        times: list[float] = []
        for vector in queries.vectors[: _FEW if slow else queries.fresh]:
            started = time.perf_counter()
            way.search(vector)
            times.append((time.perf_counter() - started) * 1_000)
        runs.append(times)
    return {"setting": way.setting, "warm_ms": percentiles_of_runs(runs)} | queries.judged(found)


def _hnswlib(vectors: Floats, stored: StoredEmbeddings, folder: Path) -> Built:
    hnswlib = import_module("hnswlib")
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), M=16, ef_construction=100)
    index.add_items(vectors)
    index.set_num_threads(1)
    for wide in (100, 400):
        index.set_ef(wide)
        yield Found(f"M 16, efConstruction 100, ef {wide}", lambda vector: index.knn_query(vector, K)[0][0])


def _usearch(vectors: Floats, stored: StoredEmbeddings, folder: Path) -> Built:
    index = import_module("usearch.index").Index(
        ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=16, expansion_add=100
    )
    index.add(np.arange(len(vectors)), vectors)
    for wide in (200, 400):
        index.expansion_search = wide
        yield Found(
            f"float16, connectivity 16, expansion {wide}", lambda vector: index.search(vector, K, threads=1).keys
        )


def _annoy(vectors: Floats, stored: StoredEmbeddings, folder: Path) -> Built:
    index = import_module("annoy").AnnoyIndex(vectors.shape[1], "angular")
    index.set_seed(0)
    for row, vector in enumerate(vectors):
        index.add_item(row, vector)
    trees = 50
    index.build(trees)
    for nodes in (-1, 200_000):
        said = "default" if nodes < 0 else f"{nodes:,}"

        def search(vector: Floats, nodes: int = nodes) -> Any:
            rows = np.asarray(index.get_nns_by_vector(vector, _DEPTH, search_k=nodes), np.int64)
            return rows[np.argsort(-stored.cosines(rows, vector))][:K]

        yield Found(f"{trees} trees, {_DEPTH:,} candidates reranked exactly, search_k {said}", search)


def _faiss_hnsw(vectors: Floats, stored: StoredEmbeddings, folder: Path) -> Built:
    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    for wide in (100, 400):
        index.hnsw.efSearch = wide
        yield Found(f"M 16, efConstruction 100, efSearch {wide}", lambda vector: index.search(vector[None], K)[1][0])


def _lancedb(vectors: Floats, stored: StoredEmbeddings, folder: Path) -> Built:
    d = vectors.shape[1]
    array = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), d)
    table = (
        import_module("lancedb")
        .connect(folder)
        .create_table("rows", pa.table({"id": np.arange(len(vectors)), "vector": array}))
    )
    lists = 2 ** round(np.log2(1.4 * np.sqrt(len(vectors))))
    table.create_index(metric="cosine", num_partitions=lists, num_sub_vectors=d // 8, index_type="IVF_PQ")
    for probes, refine in ((32, 10), (64, 20)):

        def search(vector: Floats, probes: int = probes, refine: int = refine) -> Any:
            asked = table.search(vector).distance_type("cosine").nprobes(probes).refine_factor(refine).limit(K)
            return asked.select(["id", "_distance"]).to_arrow()["id"].to_numpy()

        yield Found(f"IVF_PQ, {lists} partitions, {d // 8} parts, nprobes {probes}, refine_factor {refine}", search)


def _qdrant(vectors: Floats, stored: StoredEmbeddings, folder: Path) -> Built:
    qdrant = import_module("qdrant_client")
    models = qdrant.models
    client = qdrant.QdrantClient(":memory:")
    client.create_collection(
        "rows", vectors_config=models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT)
    )
    for first in range(0, len(vectors), _PAIRS_PER_INSERT):
        some = vectors[first : first + _PAIRS_PER_INSERT]
        client.upsert("rows", models.Batch(ids=list(range(first, first + len(some))), vectors=some.tolist()))
    yield Found(
        "local mode, which compares all",
        lambda vector: [point.id for point in client.query_points("rows", vector.tolist(), limit=K).points],
    )


PEERS: dict[str, tuple[str, Callable[[Floats, StoredEmbeddings, Path], Built]]] = {
    "hnswlib": ("hnswlib", _hnswlib),
    "usearch": ("usearch", _usearch),
    "annoy": ("annoy", _annoy),
    "faiss HNSW": ("faiss-cpu", _faiss_hnsw),
    "lancedb": ("lancedb", _lancedb),
    "qdrant local": ("qdrant-client", _qdrant),
}
"""Each peer with the distribution it comes from and a function that builds it and yields the ways to ask it."""

if __name__ == "__main__":
    main()
