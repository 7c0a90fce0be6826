"""Ask the index for the candidates of queries, among the images that were not removed or that a filter chose."""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from workers.search.candidates.additions import Additions
from workers.search.candidates.width import Width
from workers.search.filtering.filters import Chosen
from workers.search.kept import Kept
from workers.vectors.ann import faiss_index
from workers.vectors.ann.faiss_index import Only
from workers.vectors.embeddings import Floats, Rows

# From this share on, the images that are left are taken to lie as all of them did when the width was tuned.
_TUNED_SHARE: Final = 0.95
# How many times more images than looked for may be nearer than the last hit: with so many, recall stays within .002.
_SLACK: Final = 1.5
# How many times more images may be hidden than a search of some lists counts: with so many, recall stays within .01.
_UNCOUNTED: Final = 10
# Hidden images nearer than the hits up to which they are counted. Behind more of them, all lists are read.
MOST_HIDDEN: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Findable:
    """Some of the images that an index holds, `ids` int64 ascending; `only` names no others of those that it holds."""

    ids: Rows
    only: Only

    def has(self, ids: Rows) -> Any:
        """Which of `ids` are among them."""
        places = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return self.ids[places] == ids


@dataclass(frozen=True, slots=True)
class OfIndex:
    """The candidates that an index with `nlist` lists (0 for one without) gives at a width for the images `kept`."""

    index: Any
    width: Width
    nlist: int
    kept: Kept
    additions: Additions | None

    def candidates(self, units: Floats, k: int, chosen: Chosen | None) -> list[Rows]:
        """For each query, float32 [q, d] of length 1, the ids, int64 [n], of candidates that the index holds."""
        found, only = (self.kept.ids, self.kept.only) if chosen is None else (chosen.ids, chosen.only)
        if only is not None and self.nlist:
            return self._beside_hidden(units, k, _Findable(self._held(found), only))
        among, every = len(found), len(self.kept.among)
        # A graph reaches what is farther out only through all that is between.
        share = (among / every) ** (1 if self.nlist else 2)
        width = self.width.reaching(k, share, tuned=chosen is None and among >= _TUNED_SHARE * every)
        ids = self._asked(units, width, min(width.depth, among), k, only)
        return [some[some >= 0] for some in self._with_all_lists(ids, units, k, found, only)]

    def _beside_hidden(self, units: Floats, k: int, some: "_Findable") -> list[Rows]:
        """As `candidates`, of some images that the index holds: others were removed, or a filter leaves them out.

        All of those may be near one query. The k images that are left are then no nearer than the (k + n)-th of
        all, and are to be looked for as widely as for k + n hits. So hidden images are looked for like others first,
        and the n that are nearer than the k-th of those left are counted.
        """
        if not len(some.ids):
            return [some.ids] * len(units)
        k = min(k, len(some.ids))
        # As many are nearer where they lie anywhere. A compaction changes nothing: the index holds what it purged.
        hidden = math.ceil(k * self.index.ntotal / len(some.ids)) - k
        if hidden > MOST_HIDDEN:  # Hardly any is left: looking at all would be for nothing.
            return [self._behind_very_many(unit[None], k, some, hidden) for unit in units]
        found = []
        for number, near in enumerate(self._nearest_of_all(units, k, hidden)):
            found.append(self._behind_hidden(units[number : number + 1], k, some, hidden, near))
        return found

    def _behind_hidden(self, unit: Floats, k: int, some: "_Findable", hidden: int, near: Rows) -> Rows:
        """The candidates of one query, `near` which are all images that the index finds at the width for k + hidden."""
        slack = _SLACK
        while True:
            left = some.has(near)
            places = np.flatnonzero(left)
            counted = int(places[k - 1]) + 1 - k if len(places) >= k else None
            if counted is not None and k + counted <= slack * (k + hidden):
                return np.asarray(near[left])
            # No more than so many are found at this width, so there may be more of them.
            hidden = 2 * max(k, hidden, len(near) - len(places) if counted is None else counted)
            slack = 1.0
            if hidden > MOST_HIDDEN or 2 * self.width.reaching(k + hidden, 1.0, tuned=True).nprobe >= self.nlist:
                return self._behind_very_many(unit, k, some, hidden)
            (near,) = self._nearest_of_all(unit, k, hidden)

    def _nearest_of_all(self, units: Floats, k: int, hidden: int) -> list[Rows]:
        width = self.width.reaching(k + hidden, 1.0, tuned=True)
        ids = self._asked(units, width, min(width.depth + hidden, int(self.index.ntotal)), k + hidden, None)
        return [some[some >= 0] for some in ids]

    def _behind_very_many(self, unit: Floats, k: int, some: "_Findable", hidden: int) -> Rows:
        # As long as not all lists are read, no more than a part of the hidden images is counted.
        depth = self.width.reaching(k + min(_UNCOUNTED * hidden, MOST_HIDDEN), 1.0, tuned=True).depth
        (ids,) = faiss_index.candidates(self.index, unit, min(depth, len(some.ids)), self.nlist, some.only)
        return np.asarray(ids[ids >= 0])

    def _held(self, ids: Rows) -> Rows:
        """Those of `ids`, int64 ascending, that the index holds."""
        return ids if self.additions is None else self.additions.without(ids)

    def _asked(self, units: Floats, width: Width, depth: int, k: int, only: Only | None) -> Rows:
        nprobe = min(width.nprobe, self.nlist or max(len(self.kept.among), self.width.nprobe))
        bounds = {"list_margin": width.list_margin, "depth_ratio": width.depth_ratio}
        ids: Rows = faiss_index.candidates(self.index, units, depth, nprobe, only, k=k, **bounds)
        return ids

    def _with_all_lists(self, ids: Rows, units: Floats, k: int, found: Rows, only: Only | None) -> Rows:
        """The ids, where the lists that were read hold fewer than the hits that there are: of all lists."""
        short = np.count_nonzero(ids >= 0, axis=1) < min(k, len(self._held(found)))
        if short.any():
            every = self.nlist or len(self.kept.among)
            ids[short] = faiss_index.candidates(self.index, units[short], ids.shape[1], every, only)
        return ids
