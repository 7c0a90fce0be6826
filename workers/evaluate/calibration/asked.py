"""Ask for altered copies, with their original in the job and without it, and tell originals from strangers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

import numpy as np

from shared.job.altered_copies import Copies
from shared.messages.search import Hit
from workers.evaluate.accuracy import queries_of
from workers.evaluate.calibration.curve import Seen
from workers.search.cascade.chance import is_crowded, standing
from workers.search.cascade.nearness import RANKS
from workers.vectors.embeddings import Floats
from workers.vectors.exact import TIE

_DEPTH: Final = RANKS + 30
"""Hits of a query: its own image and those that are equal to it are left out of some, and twenty are to be left."""


class Related(Enum):
    """What another image is to an original: the same pixels, or perhaps a part of it or the other way round."""

    SAME = "same"
    UNCLEAR = "unclear"


Relations = Mapping[tuple[int, int], Related]
"""What is known of pairs of an original's image id and another's; those that are not named are strangers."""


class SearchesMany(Protocol):
    """Anything that answers many queries (float32 [q, d]) with hits, such as `workers.search.searcher.Searcher`."""

    def search_many(self, vectors: Floats, k: int) -> Sequence[Sequence[Hit]]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The hits of altered copies: one answer for each of `copies`."""

    copies: Copies
    answers: Sequence[Sequence[Hit]]
    _equal: set[tuple[int, int]] = field(default_factory=set)

    @classmethod
    def of(cls, searcher: SearchesMany, copies: Copies) -> "Asked":
        """Ask for all copies."""
        answers = searcher.search_many(queries_of(copies), _DEPTH)
        made = cls(copies, answers)
        for own, similarity, hits in made._each():
            # Equal bytes have equal embeddings: no similarity tells them apart, and neither is a stranger.
            made._equal.update((own, hit.id) for hit in hits if abs(hit.similarity - similarity) <= TIE)
        return made

    @property
    def strangers(self) -> Mapping[int, Sequence[tuple[int, float]]]:
        """For each original the other images that stand out from the answers without it: their ids, and how far they
        do, the farthest first."""
        best: dict[int, dict[int, float]] = {}
        for own, _, hits in self._each():
            left = [hit for hit in hits if hit.id != own and (own, hit.id) not in self._equal][:RANKS]
            of = best.setdefault(own, {})
            for hit, value in zip(left, standing([hit.similarity for hit in left]).tolist(), strict=True):
                of[hit.id] = max(value, of.get(hit.id, value))
        return {own: sorted(of.items(), key=lambda one: (-one[1], one[0])) for own, of in best.items()}

    def seen(self, related: Relations) -> "tuple[Seen, Floats, Floats]":
        """All hits of both kinds of queries; and the highest standing of each answer, float32: with the original in the
        job, and without. Copies of images that have too few strangers in the job count for nothing."""
        names, counts = np.unique(self.copies.ids, return_counts=True)
        weight = dict(zip(names.tolist(), (1 / counts).tolist(), strict=True))
        standings: list[float] = []
        originals: list[bool] = []
        weights: list[float] = []
        there: list[float] = []
        absent: list[float] = []
        for own, _, hits in self._each():
            what = {hit.id: self._what(own, hit.id, related) for hit in hits}
            for with_it in (True, False):
                left = [hit for hit in hits if what[hit.id] is None or (with_it and what[hit.id] is Related.SAME)]
                left = left[:RANKS]
                similarities = [hit.similarity for hit in left]
                if len(left) < RANKS or is_crowded(similarities):
                    continue  # A search of this kind is told no chance.
                values = standing(similarities).tolist()
                standings += values
                originals += [what[hit.id] is not None for hit in left]
                weights += [weight[own]] * len(left)
                (there if with_it else absent).append(max(values))
        seen = Seen(np.array(standings), np.array(originals, np.bool_), np.array(weights))
        return seen, np.array(there, np.float32), np.array(absent, np.float32)

    def _what(self, own: int, other: int, related: Relations) -> Related | None:
        if other == own or (own, other) in self._equal:
            return Related.SAME
        return related.get((own, other))

    def _each(self) -> "zip[tuple[int, float, Sequence[Hit]]]":
        return zip(self.copies.ids.tolist(), self.copies.similarities.tolist(), self.answers, strict=True)
