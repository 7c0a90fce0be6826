"""Which images of a build can be found: those in the shards that are held, which were not removed since."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from shared.job.index.builds import IMAGES_FILE, IndexInfo
from shared.messages.shards import Held, Searched
from workers.search.filters import Chosen
from workers.vectors.ann import index_files
from workers.vectors.ann.faiss_index import Only
from workers.vectors.embeddings import Rows, StoredEmbeddings

_NONE: Rows = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class HeldShards:
    """Some consecutive shards of a build, perhaps none; the numbers are counted from 0."""

    info: IndexInfo
    numbers: range

    @classmethod
    def of(cls, info: IndexInfo, held: Held | None) -> "HeldShards":
        """Those of a build that are `held`, all for None; an index of one file is its shard 0."""
        count = len(info.ranges)
        return cls(info, range(count) if held is None else held.among(count))

    @property
    def index_files(self) -> list[str]:
        """The index files, in the order of their rows."""
        return [self.info.index_files[number] for number in self.numbers]

    @property
    def files(self) -> list[str]:
        """All files of the build that are needed."""
        return [*self.index_files, IMAGES_FILE]

    @property
    def sizes(self) -> list[int]:
        """The embeddings in each of the index files."""
        return [len(self.info.ranges[number]) for number in self.numbers]

    def rows(self, stored: int) -> range:
        """The rows in the shards, of so many that are stored.

        Those that no build covers yet are searched with the last shard, so that one holder of it searches them.
        """
        if not self.numbers:
            return range(0)
        start = self.info.ranges[self.numbers[0]].start
        is_last = self.numbers[-1] == len(self.info.ranges) - 1
        return range(start, stored if is_last else self.info.ranges[self.numbers[-1]].stop)

    def load(self, paths: Mapping[str, Path]) -> Any:
        """The index of them in memory, None of no shards; `paths` are the files by their names."""
        return index_files.load_all([paths[name] for name in self.index_files], self.sizes, self.info.dim)

    @property
    def searched(self) -> Searched:
        return Searched(self.info.build, tuple(self.numbers), tuple(len(rows) for rows in self.info.ranges))


class Kept:
    """The images without those that were removed: their `rows` and `ids`, int64 ascending, and their embeddings."""

    def __init__(self, stored: StoredEmbeddings, removed: Rows = _NONE, among: range | None = None) -> None:
        """`removed` are image ids, int64; those without an embedding in the build don't matter. `among` are the rows
        that the index holds, all if not given."""
        self.among = range(len(stored.ids)) if among is None else among
        places = np.searchsorted(stored.ids, removed)
        places = places[places < len(stored.ids)]
        gone = places[np.isin(stored.ids[places], removed)]
        gone = gone[(gone >= self.among.start) & (gone < self.among.stop)]
        self._whole = not len(gone)
        self.rows = np.delete(np.arange(self.among.start, self.among.stop), gone - self.among.start)
        self.stored = stored if len(self.rows) == len(stored.ids) else stored.only(self.rows)
        self.ids = self.stored.ids

    @cached_property
    def only(self) -> Only | None:
        """What tells the index which images it may find; None where nothing was removed."""
        return None if self._whole else Only(self.ids)

    def those_of(self, chosen: Chosen) -> Chosen:
        """Those of the images that a filter chose; perhaps none."""
        return Chosen(np.intersect1d(chosen.ids, self.ids, assume_unique=True))
