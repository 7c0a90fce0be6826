"""Describe what is wrong in a job directory, in a sentence each, and what has to be removed to mend it."""

import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from shared.errors import LookalikeError
from shared.errors.remedy import Remedy, with_remedy
from shared.job.directory import JobDir
from shared.text import duration, size

# Unfinished files younger than this may belong to a running process. A merge trains for a while without a sign.
FRESH_SECONDS = 3_600.0


class Kind(StrEnum):
    """The kind of a finding: damage, leftovers of a killed process, what can't be read now, or files of others."""

    DAMAGE = "damaged"
    LEFTOVER = "left over"
    UNREAD = "unread"
    FOREIGN = "not ours"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, at `path` inside the job (relative).

    `wrong` is a sentence. `remedy` says, as in "it is …", what repair does about it; empty if repair can't or must not
    do anything. `then` is the action that does the lost work again. Repair promotes the build `promote`, if it is
    given, then removes `remove` in its order (files, and directories if they are empty by then; markers come first, so
    that a kill in between leaves nothing that looks whole), and writes the path list of the partition `relist` again.
    It removes what is to be removed `alone` while no other process changes the job, and only if it is as old as it was.
    """

    path: str
    kind: Kind
    wrong: str
    remedy: str = ""
    remove: tuple[Path, ...] = ()
    promote: str | None = None
    relist: int | None = None
    then: Remedy | None = None
    alone: bool = False

    @property
    def mends(self) -> Remedy | None:
        """The remedy; None if no action of lookalike mends it."""
        if not self.remedy:
            return self.then
        return Remedy("repair", does=f"with {{}} it is {self.remedy}", then=self.then)

    @property
    def sentence(self) -> str:
        """The problem, and what is done about it, in plain words."""
        return with_remedy(self.wrong, self.mends)

    @property
    def bad(self) -> bool:
        """Whether it means that the job is not whole, or could not be checked."""
        return self.kind in (Kind.DAMAGE, Kind.UNREAD)

    def to_json(self) -> dict[str, object]:
        table: dict[str, object] = {"path": self.path, "kind": str(self.kind), "sentence": self.sentence}
        return table if self.mends is None else table | {"remedy": self.mends.to_json()}


@dataclass(slots=True)
class Checked:
    """How much was checked (files, bytes, seconds since the beginning), the findings by kind, and those that can be
    mended.
    """

    files: int = 0
    bytes: int = 0
    found: Counter[Kind] = field(default_factory=Counter)
    mendable: int = 0
    _started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @property
    def whole(self) -> bool:
        """Whether everything was read and nothing is damaged."""
        return not self.found[Kind.DAMAGE] and not self.found[Kind.UNREAD]

    def add(self, path: Path) -> int:
        """Count a file that is about to be read; returns its size. Raises OSError when its size can't be read."""
        size = path.stat().st_size
        self.files += 1
        self.bytes += size
        return size


def inside(job: JobDir, path: Path) -> str:
    """The name of `path` inside the job."""
    return path.relative_to(job.path).as_posix() if path.is_relative_to(job.path) else str(path)


def unread(job: JobDir, path: Path, error: OSError) -> Finding:
    """The finding for a disk that does not answer: it says nothing about the file, which is never removed for it."""
    wrong = f"It can't be read now ({error.strerror or error}): repair leaves it as it is; check it again."
    return Finding(inside(job, path), Kind.UNREAD, wrong)


def without_advice(error: LookalikeError) -> str:
    """The sentence of an error without its advice, which a finding gives in its own words."""
    return error.found if error.found.endswith(".") else f"{error.found}."


def is_fresh(path: Path) -> bool:
    """Whether a process wrote to `path` lately, by the clock of this machine; raises OSError when it is gone."""
    return time.time() - path.stat().st_mtime < FRESH_SECONDS


def checked_line(checked: Checked) -> str:
    """How much was checked: files, bytes, seconds."""
    files = "1 file" if checked.files == 1 else f"{checked.files:,} files"
    return f"{files}, {size(checked.bytes)}, in {duration(checked.seconds)}"
