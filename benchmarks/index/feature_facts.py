"""Compare facts about made features with those about real ones: spread, neighbours, recall.

python -m benchmarks.index.feature_facts [ROWS [DIM [SEED]]]; prints JSON
"""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

import faiss
import numpy as np

from benchmarks.support.features import BLOCK, FITTED_ROWS, Features, Floats, Half
from benchmarks.support.queries import recall_at_10

DIM: Final = 1_280

REAL: Final[dict[str, list[float]]] = {
    "zeros": [0.463],
    "mean": [0.0119],
    "standard deviation": [0.0253],
    "skew": [3.56],
    "norm of the mean vector": [0.532],
    "dimensions for 50, 80, 90, 95, 99 % of the variance": [52, 299, 581, 826, 1139],
    "eigenvalues 2, 8, 32, 128, 512 over the first": [0.436, 0.125, 0.047, 0.0135, 0.0028],
    "cosine of random pairs, p10 p50 p90": [0.17, 0.26, 0.41],
    "cosine at rank 1, p10 p50 p90": [0.66, 0.76, 0.99],
    "cosine at rank 10, p10 p50 p90": [0.61, 0.70, 0.98],
    "cosine at rank 100, p10 p50 p90": [0.55, 0.64, 0.91],
    "cosine at rank 1,000, p10 p50 p90": [0.46, 0.55, 0.81],
}
"""223,869 photographs embedded by EfficientNet-Lite0: 1,280 dimensions, length 1."""

REAL_RECALL: Final = (
    ("PCAR256,IVF512,PQ128x4fs", 32, 200, 0.990),
    ("PCAR256,IVF512,PQ128x4fs", 64, 100, 0.994),
    ("PCAR256,IVF512,PQ128x4fs", 64, 200, 0.997),
    ("PCAR256,IVF512,PQ64x4fs", 64, 100, 0.961),
    ("PCAR256,IVF512,PQ64x4fs", 64, 200, 0.987),
    ("PCAR256,IVF512,RaBitQfs", 64, 100, 0.988),
    ("PCAR256,IVF512,RaBitQfs", 64, 200, 0.996),
    ("PCAR128,IVF512,PQ64x4fs", 64, 100, 0.969),
    ("PCAR128,IVF512,PQ64x4fs", 64, 200, 0.990),
    ("IVF100,PQ8x8np", 1, 0, 0.257),
    ("IVF100,PQ8x8np", 10, 0, 0.263),
    ("IVF100,PQ8x8np", 1, 1_000, 0.70),
    ("IVF100,PQ8x8np", 10, 1_000, 0.82),
)
"""recall@10 on those photographs: FAISS's factory string, nprobe, candidates compared exactly (0: none), recall."""

REAL_BY_ROWS: Final = ((20_000, 256, 0.990), (50_000, 256, 0.995), (100_000, 512, 0.991))
"""recall@10 on samples of those photographs: how many, lists, recall; of PCAR256 and PQ128x4fs, nprobe 32, 200 exactly
compared."""

WITHIN: Final = 0.01
"""How far the recall on made features may be from the real one for the features to count as calibrated."""

_QUERIES = 500
_TRAIN_ROWS = 60_000
_SAMPLE_ROWS = 30_000
_RANKS = (1, 10, 100, 1_000)
_PAIRS = 20_000


def check(rows: int = FITTED_ROWS, dim: int = DIM, seed: int = 0) -> dict[str, Any]:
    """Facts of `rows` made features beside the real ones, and recall@10 of the configurations measured on those.

    The queries are made features that are not among the rows.
    """
    source = Features(dim, rows, seed)
    stored = np.empty((rows, dim), np.float16)
    for number, block in enumerate(source.blocks()):
        stored[number * BLOCK : number * BLOCK + len(block)] = block
    queries = source.fresh(_QUERIES)
    similarities, truth = nearest(stored, queries, max(_RANKS))
    made = spread(stored[:: -(-rows // _SAMPLE_ROWS)].astype(np.float32)) | {
        f"cosine at rank {rank:,}, p10 p50 p90": _percentiles(similarities[:, rank - 1]) for rank in _RANKS
    }
    return {
        "rows": rows,
        "dim": dim,
        "queries": len(queries),
        "facts": {name: {"real": real, "made": made[name]} for name, real in REAL.items()},
        "recall": list(_recalls(stored, queries, truth[:, :10], REAL_RECALL)),
        "recall_by_rows": [_of_sample(stored[:count], queries, nlist, real) for count, nlist, real in REAL_BY_ROWS],
        "within": WITHIN,
    }


def spread(features: Floats) -> dict[str, list[float]]:
    """Moments, spectrum and cosine of random pairs of some features, float32 [n, d] of length 1."""
    mean = features.mean(axis=0)
    eigenvalues = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    explained = np.cumsum(eigenvalues) / eigenvalues.sum()
    rng = np.random.default_rng(0)
    left, right = (features[rng.integers(len(features), size=_PAIRS)] for _ in range(2))
    deviations = features - features.mean()
    return {
        "zeros": [round(float((features == 0).mean()), 3)],
        "mean": [round(float(features.mean()), 4)],
        "standard deviation": [round(float(features.std()), 4)],
        "skew": [round(float((deviations**3).mean() / deviations.std() ** 3), 2)],
        "norm of the mean vector": [round(float(np.linalg.norm(mean)), 3)],
        "dimensions for 50, 80, 90, 95, 99 % of the variance": [
            int(np.searchsorted(explained, share)) + 1 for share in (0.5, 0.8, 0.9, 0.95, 0.99)
        ],
        "eigenvalues 2, 8, 32, 128, 512 over the first": [
            round(float(eigenvalues[number - 1] / eigenvalues[0]), 4)
            for number in (2, 8, 32, 128, 512)
            if number <= len(eigenvalues)
        ],
        "cosine of random pairs, p10 p50 p90": _percentiles(np.einsum("ij,ij->i", left, right)),
    }


def nearest(stored: Half, queries: Floats, k: int) -> tuple[Floats, np.ndarray]:
    """Cosines float32 [q, k] and rows int64 [q, k] of the k nearest of `stored` to each query, best first."""
    index = faiss.ResultHeap(len(queries), k, keep_max=True)
    for first, block in _widened(stored):
        cosines = queries @ block.T
        few = min(k, len(block))
        columns = np.argpartition(-cosines, few - 1, axis=1)[:, :few]
        index.add_result(np.take_along_axis(cosines, columns, 1), (first + columns).astype(np.int64))
    index.finalize()
    return index.D, index.I


def _of_sample(stored: Half, queries: Floats, nlist: int, real: float) -> dict[str, Any]:
    configuration = (f"PCAR256,IVF{nlist},PQ128x4fs", 32, 200, real)
    (found,) = _recalls(stored, queries, nearest(stored, queries, 10)[1], [configuration])
    return {"rows": len(stored)} | found


def _recalls(
    stored: Half, queries: Floats, truth: np.ndarray, configurations: Sequence[tuple[str, int, int, float]]
) -> Iterator[dict[str, Any]]:
    drawn = np.sort(np.random.default_rng(0).choice(len(stored), min(_TRAIN_ROWS, len(stored)), replace=False))
    sample = stored[drawn].astype(np.float32)
    built: dict[str, Any] = {}
    for factory, nprobe, depth, real in configurations:
        if factory not in built:
            built = {factory: faiss.index_factory(stored.shape[1], factory)}
            built[factory].train(sample)
            for _, block in _widened(stored):
                built[factory].add(block)
        faiss.extract_index_ivf(built[factory]).nprobe = nprobe
        _, found = built[factory].search(queries, depth or 10)
        if depth:
            found = np.stack([_reranked(stored, row, query) for row, query in zip(found, queries, strict=True)])
        yield {
            "factory": factory,
            "nprobe": nprobe,
            "rerank_depth": depth,
            "real": real,
            "made": round(recall_at_10(found, truth), 4),
        }


def _reranked(stored: Half, found: np.ndarray, query: Floats) -> np.ndarray:
    rows = found[found >= 0]
    best = rows[np.argsort(-(stored[rows].astype(np.float32) @ query))][:10]
    return np.pad(best, (0, 10 - len(best)), constant_values=-1)


def _widened(stored: Half, size: int = 16_384) -> Iterator[tuple[int, Floats]]:
    for first in range(0, len(stored), size):
        yield first, stored[first : first + size].astype(np.float32)


def _percentiles(values: Sequence[float] | np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in np.percentile(values, [10, 50, 90])]


if __name__ == "__main__":
    print(json.dumps(check(*map(int, sys.argv[1:]))))
