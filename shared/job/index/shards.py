"""The shards of an index: which rows are in which file, and what these files are called."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

TRAINED_FILE: Final = "trained.faiss"
"""There until a build of shards is whole: the trained index without an image, from which each shard is filled."""

_SHARD = re.compile(r"(?:index|filling)_(\d{4})\.faiss", re.ASCII)


class Range(NamedTuple):
    """The rows of a shard, by their number in the order of the image ids: the first, and one past the last."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def shard_file(number: int) -> str:
    """The name of the index file of a shard, counted from 0."""
    return f"index_{number:04d}.faiss"


def filling_file(number: int) -> str:
    """The name of the file of a shard that is not full yet."""
    return f"filling_{number:04d}.faiss"


def shards_in(names: Iterable[str]) -> list[int]:
    """The numbers of the shards that have a file, full or not, among the `names` in the directory of a build."""
    return sorted({int(match[1]) for name in names if (match := _SHARD.fullmatch(name))})


def even_ranges(rows: int, shards: int) -> list[Range]:
    """The ranges of `rows` in so many shards, of which none has two rows more than another."""
    bounds = [number * rows // shards for number in range(shards + 1)]
    return [Range(*pair) for pair in pairwise(bounds)]


def grown_ranges(ranges: Sequence[Range], rows: int, shard_rows: int) -> list[Range]:
    """The ranges of an index that grows to `rows`: its last shard gets up to `shard_rows`, and then new ones do."""
    grown = list(ranges[:-1])
    start, stop = ranges[-1]
    while start < rows:
        stop = max(stop, min(start + shard_rows, rows))
        grown.append(Range(start, stop))
        start = stop
    return grown


def ranges_without(ranges: Sequence[Range], gone: npt.NDArray[np.int64]) -> list[Range]:
    """The ranges as they are once the rows `gone`, int64 ascending, are in them no more; some may be empty then."""
    return [Range(*(bound - int(np.searchsorted(gone, bound)) for bound in rows)) for rows in ranges]


def require_ranges(shards: Sequence[Sequence[int]], rows: int) -> None:
    """Raise ValueError where `shards` are not all rows from 0 to `rows` in order, some in each."""
    bounds = [0, *(stop for _, stop in shards)]
    if [start for start, _ in shards] != bounds[:-1] or sorted(set(bounds)) != bounds or bounds[-1] != rows:
        raise ValueError(f"the shards {list(shards)!r} are not the {rows} rows in order")
