"""Which images of a build can be found: those in the shards that are held, which were not removed since."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shared.job.index.builds import IMAGES_FILE, IndexInfo
from shared.job.index.shards import Range, ranges_without
from shared.messages.shards import Held, SearchedShards
from workers.search.filtering.filters import Chosen
from workers.vectors.ann import index_files
from workers.vectors.ann.faiss_index import Only
from workers.vectors.embeddings import Rows, StoredEmbeddings

_NONE: Rows = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class HeldShards:
    """Some consecutive shards of a build, perhaps none; the numbers are counted from 0. `held` is None for all."""

    info: IndexInfo
    held: Held | None

    @property
    def numbers(self) -> range:
        """Those that are held; an index of one file is its shard 0."""
        count = len(self.info.ranges)
        return range(count) if self.held is None else self.held.among(count)

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

    def part(self, gone: Rows, stored: int) -> "Part":
        """What is searched of so many embeddings that are stored; `gone` are the rows, int64 ascending, of the build
        whose images were purged since.

        Those that no build covers yet are searched with the last shard, so that one holder of it searches them.
        """
        ranges = ranges_without(self.info.ranges, gone)
        ranges[-1] = Range(ranges[-1].start, stored)
        return Part.of(self.held, self.info.build, ranges)

    def load(self, paths: Mapping[str, Path]) -> Any:
        """The index of them in memory, None of no shards; `paths` are the files by their names."""
        return index_files.load_all([paths[name] for name in self.index_files], self.sizes, self.info.dim)


class Part(NamedTuple):
    """The rows of the stored embeddings that are searched, and the shards that they are; None where all are held."""

    rows: range
    shards: SearchedShards | None

    @classmethod
    def of(cls, held: Held | None, build: str, ranges: Sequence[Range]) -> "Part":
        """The part of the shards with these `ranges` that is `held`, all for None."""
        if held is None:
            return cls(range(ranges[-1].stop), None)
        numbers = held.among(len(ranges))
        rows = range(ranges[numbers[0]].start, ranges[numbers[-1]].stop) if numbers else range(0)
        return cls(rows, SearchedShards(build, tuple(numbers), tuple(map(len, ranges))))


class Kept:
    """The images without those that were removed: their `rows` and `ids`, int64 ascending, and their embeddings."""

    def __init__(
        self, stored: StoredEmbeddings, removed: Rows = _NONE, *, whole: bool = True, among: range | None = None
    ) -> None:
        """`removed` are image ids, int64; those without an embedding in the build don't matter. `whole` is whether the
        index holds no other images than those that are `stored`, and those that were added. `among` are the rows of the
        shards that are held, with those that are searched beside them; all if not given."""
        self._every, self._index_is_whole = stored, whole
        self.among = range(len(stored.ids)) if among is None else among
        self.is_all = len(self.among) == len(stored.ids)
        places = np.searchsorted(stored.ids, removed)
        places = places[places < len(stored.ids)]
        gone = places[np.isin(stored.ids[places], removed)]
        gone = gone[(gone >= self.among.start) & (gone < self.among.stop)]
        self._whole = whole and not len(gone)
        self.rows = np.delete(np.arange(self.among.start, self.among.stop), gone - self.among.start)
        self.stored = stored if len(self.rows) == len(stored.ids) else stored.only(self.rows)
        self.ids = self.stored.ids

    def without(self, removed: Rows) -> "Kept":
        """These images but for those `removed`, int64, and no others."""
        return Kept(self._every, removed, whole=self._index_is_whole, among=self.among)

    @cached_property
    def only(self) -> Only | None:
        """What tells the index which images it may find; None where nothing was removed."""
        return None if self._whole else Only(self.ids)

    def those_of(self, chosen: Chosen) -> Chosen:
        """Those of the images that a filter chose; perhaps none."""
        return Chosen(np.intersect1d(chosen.ids, self.ids, assume_unique=True))
