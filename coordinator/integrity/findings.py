"""Findings: what is wrong in a job directory, a sentence each, and what has to be taken back to mend it."""

import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from shared.errors import LookalikeError
from shared.errors.remedy import Remedy, with_remedy
from shared.job.directory import JobDir
from shared.text import duration, size

# What is younger and unfinished may be somebody's who is still at it. A merge trains for a while without a sign.
FRESH_SECONDS = 3_600.0


class Kind(StrEnum):
    """What a finding is: damage, what a killed process left over, what can't be read now, or files of others."""

    DAMAGE = "damaged"
    LEFTOVER = "left over"
    UNREAD = "unread"
    FOREIGN = "not ours"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, at `path` inside the job (relative).

    `wrong` is a sentence. `remedy` says, as in "it is …", what repair does about it; empty where repair can't do, or
    must not do, anything. `then` is what does anew what is lost with it. Repair makes `promote` the promoted build, if
    it is given, then removes `remove` in its order (files, and directories if they are empty by then; markers stand
    first, so that a kill between two of them leaves nothing that looks whole), and writes the path list of the
    partition `relist` anew.
    """

    path: str
    kind: Kind
    wrong: str
    remedy: str = ""
    remove: tuple[Path, ...] = ()
    promote: str | None = None
    relist: int | None = None
    then: Remedy | None = None

    @property
    def mends(self) -> Remedy | None:
        """What mends it, None where nothing of ours does."""
        if not self.remedy:
            return self.then
        return Remedy("repair", does=f"with {{}} it is {self.remedy}", then=self.then)

    @property
    def sentence(self) -> str:
        """What is wrong, and what is done about it, in plain words."""
        return with_remedy(self.wrong, self.mends)

    @property
    def bad(self) -> bool:
        """Whether the job is not whole for it, or could not be seen to be."""
        return self.kind in (Kind.DAMAGE, Kind.UNREAD)

    def to_json(self) -> dict[str, object]:
        table: dict[str, object] = {"path": self.path, "kind": str(self.kind), "sentence": self.sentence}
        return table if self.mends is None else table | {"remedy": self.mends.to_json()}


@dataclass(slots=True)
class Checked:
    """How much was checked: files, bytes, seconds since the beginning; what was found, by kind, what can be mended."""

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
        """Count a file that is about to be read; returns its size. Raises OSError when it can't be looked at."""
        size = path.stat().st_size
        self.files += 1
        self.bytes += size
        return size


def inside(job: JobDir, path: Path) -> str:
    """`path` as it is called inside the job."""
    return path.relative_to(job.path).as_posix() if path.is_relative_to(job.path) else str(path)


def unread(job: JobDir, path: Path, error: OSError) -> Finding:
    """A disk that does not answer says nothing about the file, which is never taken back for it."""
    wrong = f"It can't be read now ({error.strerror or error}): repair leaves it as it is; check it again."
    return Finding(inside(job, path), Kind.UNREAD, wrong)


def without_advice(error: LookalikeError) -> str:
    """The sentence of an error less what it tells people to do, which a finding says in its own words."""
    return error.found if error.found.endswith(".") else f"{error.found}."


def is_fresh(path: Path) -> bool:
    """Whether somebody wrote to `path` lately, by the clock of this machine; raises OSError when it is gone."""
    return time.time() - path.stat().st_mtime < FRESH_SECONDS


def checked_line(checked: Checked) -> str:
    """How much was checked: files, bytes, seconds."""
    files = "1 file" if checked.files == 1 else f"{checked.files:,} files"
    return f"{files}, {size(checked.bytes)}, in {duration(checked.seconds)}"
