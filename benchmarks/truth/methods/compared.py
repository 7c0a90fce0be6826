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

Floats = npt.NDArray[np.float32]
Describe = Callable[[Sequence[bytes]], Floats]
"""Files of images to their vectors, float32 [images, vectors of each, d]."""

_BLOCK: Final = 128
_TOP: Final = 10


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
        self._last: tuple[Sequence[Query], Scores] | None = None

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
        if self._last is None or self._last[0] is not queries:
            made: list[Scores] = []
            for start in range(0, len(queries), _BLOCK):
                if start % (8 * _BLOCK) == 0:
                    program.log(f"{self.name}: {start:,} of {len(queries):,} queries")
                made.append(self._score([query.data for query in queries[start : start + _BLOCK]]))
            self._last = queries, np.concatenate(made)
        return self._last[1]

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
        score = self.one(data, without)
        return np.asarray(np.argsort(-score, kind="stable")[:_TOP], np.int64)

    def one(self, data: bytes, without: int | None) -> Scores:
        """The score of every photograph for one image file, float32 [n]; -inf for the one that is not there."""
        score: Scores = self._score([data])[0]
        if without is not None:
            score[without] = -np.inf
        return score

    def _score(self, files: Sequence[bytes]) -> Scores:
        described = self._of_query(files)
        images, each, dim = described.shape
        products = described.reshape(images * each, dim) @ self.vectors.T
        best: Scores = products.reshape(images, each, -1).max(axis=1)
        return best if not self._bits else np.asarray((best - self._bits) / 2, np.float32)

    def _said(self, at: float) -> str:
        return f"at most {int(np.floor(-at))} bits" if self._bits else f"cosine {at:.3f}"
