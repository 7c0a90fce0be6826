"""Measure how other vector stores grow and forget, on the same features, each in a process of its own.

python -m benchmarks.growth.peers NAME ROWS DIM; prints JSON
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.growth.one_size import ADDITIONS, QUERIES, UNCOVERED, Source
from benchmarks.support.features import Features, Floats
from benchmarks.support.queries import K, recall_at_10
from benchmarks.support.timing import percentiles_of_runs

Ids = npt.NDArray[np.int64]
_RUNS: Final = 3
_PROBES: Final = 64
_REFINE: Final = 20
_ROWS_PER_CALL: Final = 5_000
_FEW: Final = 50


class Peer(Protocol):
    """A store of vectors by ids."""

    def add(self, ids: Ids, vectors: Floats) -> None: ...

    def delete(self, ids: Ids) -> None: ...

    def search(self, vector: Floats) -> Sequence[int]: ...

    def index(self) -> None:
        """Build its index over all, or bring what was added into it."""


class LanceDB:
    """A table on disk with its IVF_PQ index; what no index holds is compared as well."""

    distribution = "lancedb"
    setting = f"IVF_PQ, nprobes {_PROBES}, refine_factor {_REFINE}"

    def __init__(self, folder: Path, dim: int) -> None:
        self._database = import_module("lancedb").connect(folder)
        self._dim = dim
        self._table: Any = None
        self._indexed = False

    def add(self, ids: Ids, vectors: Floats) -> None:
        array = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), self._dim)
        rows = pa.table({"id": ids, "vector": array})
        if self._table is None:
            self._table = self._database.create_table("rows", rows)
        else:
            self._table.add(rows)

    def delete(self, ids: Ids) -> None:
        self._table.delete(f"id in ({', '.join(map(str, ids.tolist()))})")

    def search(self, vector: Floats) -> Sequence[int]:
        asked = self._table.search(vector).distance_type("cosine").nprobes(_PROBES).refine_factor(_REFINE).limit(K)
        found: list[int] = asked.select(["id", "_distance"]).to_arrow()["id"].to_pylist()
        return found

    def index(self) -> None:
        if self._indexed:
            self._table.optimize()
            return
        lists = 2 ** round(np.log2(1.4 * np.sqrt(self._table.count_rows())))
        options = {"num_partitions": lists, "num_sub_vectors": self._dim // 8, "index_type": "IVF_PQ"}
        self._table.create_index(metric="cosine", **options)
        self._indexed = True


class QdrantLocal:
    """Qdrant's local mode, which holds all in memory and compares all: no server can be installed from a registry."""

    distribution = "qdrant-client"
    setting = "local mode, which compares all"

    def __init__(self, folder: Path, dim: int) -> None:
        self._models = import_module("qdrant_client").models
        self._client = import_module("qdrant_client").QdrantClient(":memory:")
        vectors = self._models.VectorParams(size=dim, distance=self._models.Distance.DOT)
        self._client.create_collection("rows", vectors_config=vectors)

    def add(self, ids: Ids, vectors: Floats) -> None:
        for first in range(0, len(ids), _ROWS_PER_CALL):
            some = slice(first, first + _ROWS_PER_CALL)
            self._client.upsert("rows", self._models.Batch(ids=ids[some].tolist(), vectors=vectors[some].tolist()))

    def delete(self, ids: Ids) -> None:
        self._client.delete("rows", self._models.PointIdsList(points=ids.tolist()))

    def search(self, vector: Floats) -> Sequence[int]:
        return [point.id for point in self._client.query_points("rows", vector.tolist(), limit=K).points]

    def index(self) -> None:
        return


PEERS: Final[dict[str, type[LanceDB] | type[QdrantLocal]]] = {"LanceDB": LanceDB, "Qdrant local": QdrantLocal}


def main() -> None:
    name, rows, dim = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    kind = PEERS[name]
    with tempfile.TemporaryDirectory(prefix="lookalike-peer-") as folder:
        found = _measured(kind(Path(folder), dim), Features(dim, rows))
    about = {"peer": name, "version": version(kind.distribution), "setting": kind.setting}
    print(json.dumps(about | {"rows": rows, "load": round(os.getloadavg()[0], 2)} | found))


def _measured(peer: Peer, features: Features) -> dict[str, Any]:
    more = Source(features)
    # A float16 copy is what our own rows are compared as; the peers keep float32.
    held = np.concatenate(list(features.blocks())).astype(np.float32)
    ids = np.arange(len(held))
    queries = features.fresh(QUERIES)
    peer.add(ids, held)
    full = _seconds(peer.index)
    found: dict[str, Any] = {"full": {"wall_seconds": full} | _searched(peer, held, ids, queries), "additions": []}
    left = UNCOVERED
    for count in (*ADDITIONS, UNCOVERED - sum(ADDITIONS)):
        vectors = more.more(count).astype(np.float32)
        new = np.arange(ids[-1] + 1, ids[-1] + 1 + count)
        started = time.perf_counter()
        peer.add(new, vectors)
        there = int(new[-1]) in peer.search(vectors[-1])
        seconds = round(time.perf_counter() - started, 3)
        if count in ADDITIONS:
            found["additions"].append({"rows": count, "seconds_to_found": seconds, "found": there})
        held, ids, left = np.concatenate([held, vectors]), np.concatenate([ids, new]), left - count
    found["uncovered"] = {"rows": UNCOVERED} | _searched(peer, held, ids, queries)
    found["grown"] = {"wall_seconds": _seconds(peer.index)} | _searched(peer, held, ids, queries)
    gone = np.sort(np.random.default_rng(1).choice(ids, len(ids) // 100, replace=False))
    probe = held[np.searchsorted(ids, gone[0])]
    started = time.perf_counter()
    peer.delete(gone)
    still = int(gone[0]) in peer.search(probe)
    found["removal"] = {
        "removed": len(gone),
        "seconds_to_gone": round(time.perf_counter() - started, 3),
        "gone": not still,
    }
    stay = ~np.isin(ids, gone)
    return found | {"after_removal": _searched(peer, held[stay], ids[stay], queries)}


def _seconds(act: Callable[[], None]) -> float:
    started = time.perf_counter()
    act()
    return round(time.perf_counter() - started, 1)


def _searched(peer: Peer, held: Floats, ids: Ids, queries: Floats) -> dict[str, Any]:
    """Milliseconds of a query alone, and recall against exact search over what it holds."""
    best = [np.argpartition(-(held @ query), K)[:K] for query in queries]
    truth = np.array([ids[rows] for rows in best])
    answers = np.full((len(queries), K), -1, np.int64)
    for row, query in zip(answers, queries, strict=True):
        some = peer.search(query)
        row[: len(some)] = some
    runs = []
    for _ in range(_RUNS):
        times = []
        for query in queries[:_FEW]:
            started = time.perf_counter()
            peer.search(query)
            times.append((time.perf_counter() - started) * 1_000)
        runs.append(times)
    return {"recall_at_10": round(recall_at_10(answers, truth), 4), "warm_ms": percentiles_of_runs(runs)}


if __name__ == "__main__":
    main()
