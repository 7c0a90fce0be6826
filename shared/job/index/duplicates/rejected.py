"""Pairs of images that a person said are no duplicates: one numbered file for each time, written once."""

import json
import time
from collections.abc import Collection, Iterable
from itertools import combinations
from typing import TypeAlias

from shared.errors import CorruptFile, JobBusy
from shared.job.directory import JobDir
from shared.processes.failpoints import failpoint
from shared.storage import files

FORMAT = 1

Pairs: TypeAlias = set[tuple[int, int]]
"""Pairs of image ids, the lower one first."""


def pairs_of(sets: Iterable[Collection[int]]) -> Pairs:
    """Every two of the images in each of the sets."""
    return {pair for images in sets for pair in combinations(sorted(set(images)), 2)}


def read_rejected(job: JobDir) -> Pairs:
    """All pairs that were rejected. Raises CorruptFile for a file that is missing or is not what `reject` writes."""
    numbers, found = job.rejected_numbers(), set[tuple[int, int]]()
    for number in range(1, max(numbers, default=0) + 1):
        path = job.rejected(number)
        try:
            table = json.loads(files.read_marker(path))
            if table["format"] != FORMAT:
                raise ValueError(f"it has format {table['format']}")
            found |= {(int(lower), int(higher)) for lower, higher in table["pairs"]}
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise CorruptFile(
                f"{path} does not hold rejected pairs ({error!r}): restore it from a copy, or remove it to have its "
                "pairs shown again."
                if numbers and number in numbers
                else f"{path} is missing, and a later one is there: restore it from a copy."
            ) from None
    return found


def reject(job: JobDir, pairs: Pairs) -> Pairs:
    """Remember pairs as no duplicates; returns those that were not rejected before.

    Raises JobBusy where another process rejected pairs at the same moment, and as `read_rejected`.
    """
    new = pairs - read_rejected(job)
    if not new:
        return new
    number = max(job.rejected_numbers(), default=0) + 1
    table = {"format": FORMAT, "at": time.time(), "pairs": sorted(map(list, new))}
    data = (json.dumps(table, indent=2) + "\n").encode()
    failpoint("reject_pairs")
    files.write_bytes(job.rejected(number), data, keep_first=True)
    if files.read_marker(job.rejected(number)) != data:
        raise JobBusy(
            f"Another process rejected pairs of {job.path} at the same time: nothing of this call was done. "
            "Do it again."
        )
    return new
