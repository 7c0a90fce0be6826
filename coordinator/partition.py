"""Partitioning: a stream of image paths -> partitions of consecutive image ids (pure)."""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from shared.manifest import Partition

_Image = TypeVar("_Image")


def partitions_of(images: Iterable[_Image], size: int) -> Iterator[tuple[Partition, list[_Image]]]:
    """Cut `images`, or their paths, into partitions of `size` (the last may be smaller), one held at a time.

    The id of an image is its position; every image falls into just one partition.
    """
    stream = iter(images)
    start = number = 0
    while part := list(islice(stream, size)):
        yield Partition(number, start, start + len(part)), part
        start += len(part)
        number += 1


class PathDigest:
    """SHA-256 over a path list in order, fed as it streams by: two lists are the same when their digests are."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.count = 0

    def feed(self, paths: Iterable[str]) -> Iterator[str]:
        """Yield `paths` unchanged while they are counted and digested."""
        for path in paths:
            self.add(path)
            yield path

    def add(self, path: str) -> None:
        # NUL can't be part of a path, so no two lists run together to the same bytes.
        self._digest.update(path.encode() + b"\0")
        self.count += 1

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
