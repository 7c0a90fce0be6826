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
# Removed images nearer than the hits up to which they are counted. Behind more of them, all lists are read.
MOST_HIDDEN: Final = 10_000


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
        if chosen is None and self.nlist and self.kept.only is not None:
            return self._beside_removed(units, k)
        found, only = (self.kept.ids, self.kept.only) if chosen is None else (chosen.ids, chosen.only)
        among, every = len(found), len(self.kept.among)
        # A graph reaches what is farther out only through all that is between.
        share = (among / every) ** (1 if self.nlist else 2)
        width = self.width.reaching(k, share, tuned=chosen is None and among >= _TUNED_SHARE * every)
        ids = self._asked(units, width, min(width.depth, among), k, only)
        return [some[some >= 0] for some in self._with_all_lists(ids, units, k, found, only)]

    def _beside_removed(self, units: Floats, k: int) -> list[Rows]:
        """As `candidates`, where images that the index holds were removed.

        They may all have been near one query. The k images that are left are then no nearer than the (k + n)-th of
        all, and are to be looked for as widely as for k + n hits. So removed images are looked for like others first,
        and the n that are nearer than the k-th of those left are counted.
        """
        among = len(self.kept.ids)
        # As many are nearer where they lie anywhere. A compaction changes nothing: the index holds what it purged.
        hidden = math.ceil(k * max(among, self._held) / among) - k
        if hidden > MOST_HIDDEN:  # Hardly any is left: looking at all would be for nothing.
            return [self._behind_very_many(unit[None], k) for unit in units]
        found = []
        for number, some in enumerate(self._nearest_of_all(units, k, hidden)):
            found.append(self._behind_hidden(units[number : number + 1], k, hidden, some))
        return found

    def _behind_hidden(self, unit: Floats, k: int, hidden: int, near: Rows) -> Rows:
        """The candidates of one query, `near` which are all images that the index finds at the width for k + hidden."""
        while True:
            left = self._is_kept(near)
            places = np.flatnonzero(left)
            counted = int(places[k - 1]) + 1 - k if len(places) >= k else None
            if counted is not None and k + counted <= _SLACK * (k + hidden):
                return np.asarray(near[left])
            hidden = 2 * max(k, hidden, len(near) - len(places)) if counted is None else counted
            if hidden > MOST_HIDDEN:
                return self._behind_very_many(unit, k)
            (near,) = self._nearest_of_all(unit, k, hidden)

    def _nearest_of_all(self, units: Floats, k: int, hidden: int) -> list[Rows]:
        width = self.width.reaching(k + hidden, 1.0, tuned=True)
        ids = self._asked(units, width, min(width.depth + hidden, self._held), k + hidden, None)
        return [some[some >= 0] for some in ids]

    def _behind_very_many(self, unit: Floats, k: int) -> Rows:
        only = self.kept.only
        depth = min(self.width.reaching(k + MOST_HIDDEN, 1.0, tuned=True).depth, len(self.kept.ids))
        (ids,) = faiss_index.candidates(self.index, unit, depth, self.nlist, only)
        return np.asarray(ids[ids >= 0])

    @property
    def _held(self) -> int:
        """The images that the index holds, removed ones too, and those that came after it."""
        return int(self.index.ntotal) + (0 if self.additions is None else len(self.additions.rows))

    def _is_kept(self, ids: Rows) -> Any:
        kept = self.kept.ids
        places = np.minimum(np.searchsorted(kept, ids), len(kept) - 1)
        return kept[places] == ids

    def _asked(self, units: Floats, width: Width, depth: int, k: int, only: Only | None) -> Rows:
        nprobe = min(width.nprobe, self.nlist or max(len(self.kept.among), self.width.nprobe))
        bounds = {"list_margin": width.list_margin, "depth_ratio": width.depth_ratio}
        ids: Rows = faiss_index.candidates(self.index, units, depth, nprobe, only, k=k, **bounds)
        return ids

    def _with_all_lists(self, ids: Rows, units: Floats, k: int, found: Rows, only: Only | None) -> Rows:
        """The ids, where the lists that were read hold fewer than the hits that there are: of all lists."""
        held = found if self.additions is None else self.additions.without(found)
        short = np.count_nonzero(ids >= 0, axis=1) < min(k, len(held))
        if short.any():
            every = self.nlist or len(self.kept.among)
            ids[short] = faiss_index.candidates(self.index, units[short], ids.shape[1], every, only)
        return ids
