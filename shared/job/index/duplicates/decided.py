"""Groups of duplicates of which a person said which image is to be kept: one numbered file for each time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from shared.job.directory import JobDir
from shared.job.index.duplicates.numbered import next_path, read_numbered, write_once
from shared.processes.failpoints import failpoint

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Decided:
    """Of the duplicates `images`, in ascending order, `keep` is the one that is to be kept; it is one of them."""

    keep: int
    images: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return {"keep": self.keep, "images": list(self.images)}

    @classmethod
    def from_json(cls, table: Any) -> Self:
        """Raises ValueError, KeyError or TypeError for anything but what `to_json` gives."""
        keep, images = table["keep"], tuple(table["images"])
        if type(keep) is not int or not all(type(image) is int and image >= 0 for image in images):
            raise TypeError(f"an id is no whole number in {table!r:.200}")
        if keep not in images or len(images) < 2 or list(images) != sorted(set(images)):
            raise ValueError(f"{table!r:.200} is no group with the image to be kept")
        return cls(keep, images)


def read_decided(job: JobDir) -> list[Decided]:
    """What was decided, a later decision behind an earlier one. Raises CorruptFile for a file that is missing or is not
    what `decide` writes."""
    read = read_numbered(job.decided_numbers(), job.decided, FORMAT, "decided groups", _groups)
    return [group for groups in read for group in groups]


def decide(job: JobDir, groups: Sequence[Decided]) -> int:
    """Remember decisions about groups; returns how many say what was not the last word about their images.

    Raises JobBusy where another process decided at the same moment, and as `read_decided`.
    """
    last = {group.images: group.keep for group in read_decided(job)}
    new = [group for group in groups if last.get(group.images) != group.keep]
    if new:
        path = next_path(job.decided_numbers(), job.decided)
        failpoint("decide_groups")
        table = {"format": FORMAT, "at": time.time(), "groups": [group.to_json() for group in new]}
        write_once(job, path, table, "decisions")
    return len(new)


def _groups(table: dict[str, Any]) -> list[Decided]:
    groups = table["groups"]
    if not isinstance(groups, list):
        raise TypeError("its groups are no list")
    return [Decided.from_json(group) for group in groups]
