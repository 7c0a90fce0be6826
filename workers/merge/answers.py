"""Take over the exact answers that a build kept when it grows: they are compared only with what is new since."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from shared.job.index.answers import ExactAnswer, ExactAnswers, answers_of, write_answers
from shared.job.index.builds import IndexInfo
from shared.job.opened import OpenJob
from shared.vectors import unit
from workers.evaluate import recall
from workers.evaluate.recall import Yardstick
from workers.merge.growth import Former
from workers.vectors.embeddings import Floats, Rows, StoredEmbeddings, cosines
from workers.vectors.exact import TIE, Neighbours, exact_search

DEPTH: Final = 50
"""Images that are kept of each answer: of ten that count, some may be purged, and the next ones take their places."""

KEPT: Final = 200
"""Answers that a build keeps: twice what a growth is measured by, so that some queries may be purged as well."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Exact answers over `ntotal` stored embeddings: `ids` int64 [q] are the queries, `nearest` [q, DEPTH] the answers.

    An answer that is not known so far ends with ids -1. What it names are the very nearest, without the query's own
    image: no image that it does not name comes before the last of them.
    """

    ids: Rows
    nearest: Neighbours
    ntotal: int

    @classmethod
    def none(cls, ntotal: int) -> Self:
        return cls(np.empty(0, np.int64), _padded([]), ntotal)

    @property
    def depths(self) -> Rows:
        """How many images each answer names, int64 [q]."""
        depths: Rows = np.count_nonzero(self.nearest.ids >= 0, axis=1)
        return depths

    def only(self, places: Rows) -> "Known":
        """Those of the answers, in this order."""
        nearest = Neighbours(self.nearest.ids[places], self.nearest.similarities[places])
        return Known(self.ids[places], nearest, self.ntotal)

    def joined(self, others: "Known") -> "Known":
        ids = np.concatenate([self.nearest.ids, others.nearest.ids])
        similarities = np.concatenate([self.nearest.similarities, others.nearest.similarities])
        return Known(np.concatenate([self.ids, others.ids]), Neighbours(ids, similarities), self.ntotal)


def known_of(job: OpenJob, former: Former | None, stored: StoredEmbeddings) -> Known:
    """What the `former` build kept, over all that is stored now; nothing where it kept nothing that can be used."""
    kept = None if former is None else answers_of(job, former.info)
    if former is None or kept is None:
        return Known.none(len(stored))
    ids = np.array([one.id for one in kept.queries], dtype=np.int64)
    answers = [(np.array(one.ids, np.int64), np.array(one.similarities, np.float32)) for one in kept.queries]
    return grown(Known(ids, _padded(answers), kept.ntotal), stored, former.ranges[-1].stop)


def grown(known: Known, stored: StoredEmbeddings, held: int) -> Known:
    """What is `known` over other embeddings, over those that are stored now.

    The first `held` of these are what is left of the others, and the rest came since. Queries that are gone are left
    out. An answer is as deep as it can be known: as far as its last image that was known. Nothing is known where the
    images that are named have other similarities now: it was of other embeddings.
    """
    known = known.only(np.flatnonzero(_are_in(known.ids, stored.ids[:held])))
    vectors = unit(stored.rows(stored.rows_of(known.ids)))
    newer = stored.only(np.arange(held, len(stored)))
    fresh = exact_search(newer, vectors, DEPTH)
    present = _are_in(known.nearest.ids, stored.ids[:held])
    # All are read at once: an image is near to several queries, and reads in order cost least.
    rows, places = np.unique(stored.rows_of(known.nearest.ids[present]), return_inverse=True)
    named, which = stored.gathered(rows), np.split(places, np.cumsum(np.count_nonzero(present, axis=1))[:-1])
    answers = []
    for number, vector in enumerate(vectors):
        left = present[number]
        ids = known.nearest.ids[number, left]
        is_all = bool(known.depths[number] >= known.ntotal - 1)
        # Computed again, since another machine may sum in another order: what ties here has to tie.
        similarities = cosines(named[which[number]], vector)
        if np.any(np.abs(similarities - known.nearest.similarities[number, left]) > TIE):
            return Known.none(len(stored))
        answers.append(_joined((ids, similarities), (fresh.ids[number], fresh.similarities[number]), is_all))
    stored.release()
    return Known(known.ids, _padded(answers), len(stored))


def yardstick(stored: StoredEmbeddings, known: Known, k: int, queries: int, seed: int) -> tuple[Yardstick, Known]:
    """As `recall.yardstick`, and all that is known then. Only queries to which no answer is known are asked of all that
    is stored.
    """
    rows = recall.drawn(stored, queries, seed)
    ids = stored.ids[rows]
    usable = known.only(np.flatnonzero(known.depths >= min(k, len(stored) - 1)))
    asked = rows[~np.isin(ids, usable.ids)]
    every = usable.joined(_asked(stored, asked))
    place = {image: number for number, image in enumerate(every.ids.tolist())}
    drawn = every.only(np.array([place[image] for image in ids.tolist()], dtype=np.int64))
    width = min(k, len(stored))
    truth = Neighbours(drawn.nearest.ids[:, :width], drawn.nearest.similarities[:, :width])
    return Yardstick(ids, unit(stored.rows(rows)), truth, k), every


def keep(job: OpenJob, info: IndexInfo, known: Known, seed: int) -> None:
    """Write what is known over the embeddings of a build into its directory, of the queries that are drawn first."""
    first = known.only(np.argsort(recall.turns(known.ids, seed))[:KEPT])
    answers = zip(first.ids.tolist(), *(array.tolist() for array in first.nearest), first.depths.tolist(), strict=True)
    queries = [
        ExactAnswer(one, ids[:depth], [round(value, 7) for value in similarities[:depth]])
        for one, ids, similarities, depth in answers
    ]
    write_answers(job, ExactAnswers.of(info, queries))


def _asked(stored: StoredEmbeddings, rows: Rows) -> Known:
    """The answers to stored embeddings, each compared with all."""
    ids = stored.ids[rows]
    if not len(rows):
        return Known.none(len(stored))
    found = recall.without_own(exact_search(stored, unit(stored.rows(rows)), DEPTH + 1), ids, DEPTH)
    known = found.ids >= 0
    answers = zip(found.ids, found.similarities, known, strict=True)
    return Known(ids, _padded([(one[some], values[some]) for one, values, some in answers]), len(stored))


def _joined(old: tuple[Rows, Floats], new: tuple[Rows, Floats], is_all: bool) -> tuple[Rows, Floats]:
    """The nearest of both, best first, ties by id: as far as the last old one, unless these are all old ones.

    Behind that, another old one may come before a new one.
    """
    ids, similarities = np.concatenate([old[0], new[0]]), np.concatenate([old[1], new[1]])
    order = np.lexsort((ids, -similarities))
    if not is_all:
        certain = np.flatnonzero(order < len(old[0]))
        order = order[: certain[-1] + 1 if len(certain) else 0]
    return ids[order[:DEPTH]], similarities[order[:DEPTH]]


def _padded(answers: Sequence[tuple[Rows, Floats]]) -> Neighbours:
    ids = np.full((len(answers), DEPTH), -1, dtype=np.int64)
    similarities = np.full((len(answers), DEPTH), -np.inf, dtype=np.float32)
    for number, (some, values) in enumerate(answers):
        ids[number, : len(some)], similarities[number, : len(some)] = some[:DEPTH], values[:DEPTH]
    return Neighbours(ids, similarities)


def _are_in(ids: Rows, among: Rows) -> np.ndarray:
    """Which of `ids` are among those ascending."""
    if not len(among):
        return np.zeros(ids.shape, dtype=bool)
    return np.asarray(among[np.minimum(np.searchsorted(among, ids), len(among) - 1)] == ids)
