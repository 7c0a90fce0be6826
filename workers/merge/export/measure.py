"""Measure a bundle against the exact answers of its job: recall, latency, and how far its similarities are off."""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from workers.evaluate.recall import recall_at, without_own, yardstick
from workers.search.searcher import Searcher
from workers.vectors.embeddings import StoredEmbeddings
from workers.vectors.exact import Neighbours

QUERIES: Final = 100
_K: Final = 10


@dataclass(frozen=True, slots=True)
class Worth:
    """What a bundle was measured to do: recall@10 (None where no image has a neighbour) with how many queries,
    milliseconds of one query at a time, and how far similarities were off, for 99 of 100 hits and at most.
    """

    recall: float | None
    queries: int
    p50_ms: float
    p99_ms: float
    error_p99: float
    error_most: float


def measure(searcher: Searcher, stored: StoredEmbeddings, seed: int = 0) -> Worth:
    """Ask `searcher`, of the bundle, for stored embeddings of the job, the images in `stored`, drawn by `seed`.

    What it finds counts by its exact similarity, not by the one that it gives: that may be a little more than the
    truth, and would make a wrong hit look as good as a right one.
    """
    asked = yardstick(stored, _K, QUERIES, seed)
    ids = np.full((len(asked.ids), _K + 1), -1, dtype=np.int64)
    exact = np.full(ids.shape, -np.inf, dtype=np.float32)
    times, errors = np.zeros(len(asked.ids)), [np.zeros(1, np.float32)]
    for number, vector in enumerate(asked.vectors):
        searcher.search(
            vector, _K + 1
        )  # What is asked twice has its rows in memory, as where one has searched a while.
        started = time.perf_counter()
        hits = searcher.search(vector, _K + 1)
        times[number] = time.perf_counter() - started
        found = np.array([hit.id for hit in hits], np.int64)
        similarities = stored.cosines(stored.rows_of(found), vector)
        ids[number, : len(found)], exact[number, : len(found)] = found, similarities
        told = np.array([hit.similarity for hit in hits], np.float32)
        errors.append(np.abs(told - similarities)[found != asked.ids[number]])
    recall = recall_at(_K, without_own(Neighbours(ids, exact), asked.ids, _K), asked.truth)
    p50, p99 = np.percentile(times * 1_000, [50, 99])
    off = np.concatenate(errors)
    return Worth(recall, len(asked.ids), float(p50), float(p99), float(np.percentile(off, 99)), float(off.max()))
