"""Pairs of images that a person said are no duplicates: one numbered file for each time, written once."""

import time
from collections.abc import Collection, Iterable
from itertools import combinations
from typing import TypeAlias

from shared.job.directory import JobDir
from shared.job.index.duplicates.numbered import next_path, read_numbered, write_once
from shared.processes.failpoints import failpoint

FORMAT = 1

Pairs: TypeAlias = set[tuple[int, int]]
"""Pairs of image ids, the lower one first."""


def pairs_of(sets: Iterable[Collection[int]]) -> Pairs:
    """Every two of the images in each of the sets."""
    return {pair for images in sets for pair in combinations(sorted(set(images)), 2)}


def read_rejected(job: JobDir) -> Pairs:
    """All pairs that were rejected. Raises CorruptFile for a file that is missing or is not what `reject` writes."""
    found = Pairs()
    for pairs in read_numbered(job.rejected_numbers(), job.rejected, FORMAT, "rejected pairs", _pairs):
        found |= pairs
    return found


def reject(job: JobDir, pairs: Pairs) -> Pairs:
    """Remember pairs as no duplicates; returns those that were not rejected before.

    Raises JobBusy where another process rejected pairs at the same moment, and as `read_rejected`.
    """
    new = pairs - read_rejected(job)
    if new:
        path = next_path(job.rejected_numbers(), job.rejected)
        failpoint("reject_pairs")
        write_once(job, path, {"format": FORMAT, "at": time.time(), "pairs": sorted(map(list, new))}, "rejected pairs")
    return new


def _pairs(table: dict[str, object]) -> Pairs:
    pairs = table["pairs"]
    if not isinstance(pairs, list):
        raise TypeError("its pairs are no list")
    return {(int(lower), int(higher)) for lower, higher in pairs}
