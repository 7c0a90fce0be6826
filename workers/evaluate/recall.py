"""Measure recall@k and latency of an index, with exact search as the truth and without FAISS."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from shared.messages.search import Hit
from shared.processes.failpoints import failpoint
from shared.vectors import unit
from workers.vectors.embeddings import Floats, Rows, StoredEmbeddings
from workers.vectors.exact import TIE, Neighbours, exact_search

DRAWN_AT_ONCE: Final = 1_000_000
"""Images whose turns are in memory at once."""


class Searches(Protocol):
    """Anything that answers one query (float32 [d]) with hits, such as `workers.search.searcher.Searcher`."""

    def search(self, vector: Floats, k: int) -> Sequence[Hit]: ...


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result: recall@k (None if no query has a neighbour), number of queries, milliseconds a query."""

    recall: float | None
    queries: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Yardstick:
    """Queries with their truth: `vectors` float32 [q, d] are stored embeddings whose image ids are `ids` int64 [q].

    The truth leaves the query's own image out: that it finds itself means nothing, and would be 1/k of the recall.
    """

    ids: Rows
    vectors: Floats
    truth: Neighbours
    k: int

    def first(self, count: int) -> "Yardstick":
        """Its first `count` queries, with their truth."""
        truth = Neighbours(self.truth.ids[:count], self.truth.similarities[:count])
        return Yardstick(self.ids[:count], self.vectors[:count], truth, self.k)


def recall_at(k: int, found: Neighbours, truth: Neighbours) -> float | None:
    """The share of the true k nearest that were found, over all queries; None when there is nothing to find.

    If a query has fewer than k true neighbours, only those count. A found image that the truth does not name counts
    when it is as similar as the last one that it names: of fifty equal photos, any ten are right.
    """
    wanted = right = 0
    for number in range(len(truth.ids)):
        true = truth.ids[number, :k][truth.ids[number, :k] >= 0]
        if not len(true):
            continue
        last = truth.similarities[number, len(true) - 1]
        ids = found.ids[number, :k]
        good = np.isin(ids, true) | ((ids >= 0) & (found.similarities[number, :k] >= last - TIE))
        wanted += len(true)
        right += min(len(np.unique(ids[good])), len(true))
    return right / wanted if wanted else None


def drawn(stored: StoredEmbeddings, queries: int, seed: int) -> Rows:
    """Up to `queries` row numbers, int64, drawn by `seed`: the stored embeddings that a yardstick asks for.

    Each image has its turn by its id alone, and those whose turn comes first are drawn. So what is drawn of a job that
    changed is what was drawn before, without what is gone, and with new images as they are in the collection.
    """
    first: Rows = np.empty(0, np.int64)
    for start in range(0, len(stored), DRAWN_AT_ONCE):
        rows = np.concatenate([first, np.arange(start, min(start + DRAWN_AT_ONCE, len(stored)))])
        first = rows[np.argsort(turns(stored.ids[rows], seed))[:queries]]
    return first


def turns(ids: Rows, seed: int) -> npt.NDArray[np.uint64]:
    """When the turn of each image comes to be a query, no two at once: numbers as if drawn evenly, uint64 [n]."""
    # The finalizer of SplitMix64, which maps each number to another one.
    mixed = ids.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def yardstick(stored: StoredEmbeddings, k: int = 10, queries: int = 500, seed: int = 0) -> Yardstick:
    """Up to `queries` stored embeddings, drawn by `seed`, with the exact answer to each."""
    rows = drawn(stored, queries, seed)
    vectors = unit(stored.rows(rows))
    ids = stored.ids[rows]
    found = exact_search(stored, vectors, k + 1)
    return Yardstick(ids, vectors, without_own(found, ids, k), k)


def measure_against(searcher: Searches, measured: Yardstick, between: Callable[[], None] = lambda: None) -> Measurement:
    """Ask the queries of a yardstick one by one, in groups of ten, each group twice: the second time gives the latency.

    The first time brings the rows of the ten into memory, where a worker that has served for a while has them; after
    each ten, `between` is called. A searcher must not cache answers, or the cache would be measured.
    """
    failpoint("measure_index")
    k = measured.k
    ids = np.full((len(measured.ids), k + 1), -1, dtype=np.int64)
    similarities = np.full((len(measured.ids), k + 1), -np.inf, dtype=np.float32)
    times = np.empty(len(measured.ids))
    for start in range(0, len(measured.ids), 10):
        ten = list(enumerate(measured.vectors[start : start + 10], start))
        for _, vector in ten:
            searcher.search(vector, k + 1)
        for number, vector in ten:
            started = time.perf_counter()
            hits = searcher.search(vector, k + 1)
            times[number] = time.perf_counter() - started
            ids[number, : len(hits)] = [hit.id for hit in hits]
            similarities[number, : len(hits)] = [hit.similarity for hit in hits]
        between()
    recall = recall_at(k, without_own(Neighbours(ids, similarities), measured.ids, k), measured.truth)
    p50, p99 = np.percentile(times * 1_000, [50, 99])
    return Measurement(recall, len(times), float(p50), float(p99))


def measure(
    searcher: Searches, stored: StoredEmbeddings, k: int = 10, queries: int = 500, seed: int = 0
) -> Measurement:
    """recall@k against exact search, and the latency of one query at a time, on stored embeddings drawn by `seed`.

    The query's own image is left out of the truth and of the hits.
    """
    return measure_against(searcher, yardstick(stored, k, queries, seed))


def without_own(neighbours: Neighbours, own: Rows, k: int) -> Neighbours:
    """The first k of each row once the query's own image is left out."""
    width = neighbours.ids.shape[1]
    # A stable sort of "is it the own image" moves that one to the end and leaves the order of the others.
    order = np.argsort(neighbours.ids == own[:, None], axis=1, kind="stable")
    ids = np.take_along_axis(neighbours.ids, order, 1)
    similarities = np.take_along_axis(neighbours.similarities, order, 1)
    mine = ids == own[:, None]
    ids[mine], similarities[mine] = -1, -np.inf
    return Neighbours(ids[:, : min(k, width)], similarities[:, : min(k, width)])
