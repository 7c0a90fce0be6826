"""Methods that compare one vector of each photograph with those of a query: the best pair is the score."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.support import program
from benchmarks.truth import judge
from benchmarks.truth.judge import Scores
from benchmarks.truth.methods.method import Rule, Stored
from benchmarks.truth.queries.collection import Photo, Query
from workers.search.cascade.views import in_turns

Floats = npt.NDArray[np.float32]
Describe = Callable[[Sequence[bytes]], Floats]
"""Files of images to their vectors, float32 [images, vectors of each, d]."""

_BLOCK: Final = 128
_TOP: Final = 10
_LIKELY: Final = 201
"""How many of the nearest photographs are remembered of each query, in the order in which they would be verified."""


class Compared:
    """Photographs by one vector each, queries by one or more: the largest product of two is the score.

    Vectors of `bits` are +1 and -1, and their score is the number of different ones, negative; vectors of no `bits`
    have unit length, and their score is the cosine. `published` is the score that the makers of a method recommend.
    """

    asks_absent = False

    def __init__(
        self,
        name: str,
        about: str,
        of_photo: Describe,
        of_query: Describe,
        bytes_per_image: int,
        *,
        bits: int = 0,
        published: float | None = None,
    ) -> None:
        self.name, self.about = name, about
        self.vectors: Floats = np.empty((0, 0), np.float32)
        self._of_photo, self._of_query = of_photo, of_query
        self._bytes, self._bits, self._published = bytes_per_image, bits, published
        self._stored: Stored | None = None
        self._last: tuple[Sequence[Query], Scores, list[list[int]]] | None = None

    def like(self, other: "Compared") -> "Compared":
        """Keep what `other` has stored: the photographs are described once for methods that differ in the query."""
        self.vectors, self._stored = other.vectors, other._stored
        return self

    def store(self, photos: Sequence[Photo]) -> Stored:
        if self._stored is None:
            began = time.process_time()
            made = [
                self._of_photo([photo.data() for photo in photos[start : start + _BLOCK]])[:, 0]
                for start in range(0, len(photos), _BLOCK)
            ]
            cpu = time.process_time() - began
            self.vectors = np.concatenate(made)
            self._stored = Stored(self._bytes, 1000 * cpu / len(photos))
        return self._stored

    def scores(self, queries: Sequence[Query]) -> Scores:
        """The score of every photograph for every query, float32 [q, n]; kept until other queries come."""
        return self._compared(queries)[0]

    def likely(self, queries: Sequence[Query]) -> list[list[int]]:
        """The photographs that each query would be compared with, the first first: as a query worker orders them."""
        return self._compared(queries)[1]

    def _compared(self, queries: Sequence[Query]) -> tuple[Scores, list[list[int]]]:
        if self._last is None or self._last[0] is not queries:
            made: list[Scores] = []
            orders: list[list[int]] = []
            for start in range(0, len(queries), _BLOCK):
                if start % (8 * _BLOCK) == 0:
                    program.log(f"{self.name}: {start:,} of {len(queries):,} queries")
                of_views = self._of_views([query.data for query in queries[start : start + _BLOCK]])
                made.append(of_views.max(axis=1))
                orders += [_in_order(one) for one in of_views]
            self._last = queries, np.concatenate(made), orders
        return self._last[1:]

    def judge(self, queries: Sequence[Query]) -> list[Rule]:
        scores = self.scores(queries)
        originals = np.array([query.original for query in queries])
        at = judge.threshold(judge.best_others(scores, originals)[1])
        rules = [Rule(f"{self._said(at)}, 1 false in 1,000", judge.by_threshold(scores, originals, at))]
        if self._published is not None:
            known = judge.by_threshold(scores, originals, self._published)
            rules.append(Rule(f"{self._said(self._published)}, as published", known))
        return rules

    def ask(self, data: bytes, without: int | None) -> npt.NDArray[np.int64]:
        score = self._without(data, without).max(axis=0)
        return np.asarray(np.argsort(-score, kind="stable")[:_TOP], np.int64)

    def likely_of(self, data: bytes, without: int | None) -> list[int]:
        """As `likely`, of one image file; the one that is not there is left out."""
        return [place for place in _in_order(self._without(data, without)) if place != without]

    def _without(self, data: bytes, without: int | None) -> Scores:
        """The score of every photograph for each view of one file, float32 [views, n]; -inf for the one not there."""
        scores: Scores = self._of_views([data])[0]
        if without is not None:
            scores[:, without] = -np.inf
        return scores

    def _of_views(self, files: Sequence[bytes]) -> Scores:
        """The score of every photograph for each view of each file, float32 [files, views, n]."""
        described = self._of_query(files)
        images, each, dim = described.shape
        products: Scores = (described.reshape(images * each, dim) @ self.vectors.T).reshape(images, each, -1)
        return products if not self._bits else np.asarray((products - self._bits) / 2, np.float32)

    def _said(self, at: float) -> str:
        return f"at most {int(np.floor(-at))} bits" if self._bits else f"cosine {at:.3f}"


def _in_order(of_views: Scores) -> list[int]:
    """The places of photographs by their scores for each view of a query, float32 [views, n], the likeliest first."""
    nearest: list[int] = np.argsort(-of_views.max(axis=0), kind="stable")[:_LIKELY].tolist()
    if len(of_views) == 1:
        return nearest
    return in_turns(nearest, [np.argsort(-row, kind="stable")[:_LIKELY].tolist() for row in of_views], _LIKELY)
