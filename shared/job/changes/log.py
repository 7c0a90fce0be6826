"""The log of changes: one numbered file for each, written once, and the ids that a change removes beside it."""

import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shared.errors import CorruptFile, JobBusy, JobMismatch
from shared.errors.remedy import Remedy
from shared.job.changes.replaced import Replaced, replaced_from_json
from shared.job.directory import JobDir
from shared.job.manifest import CHANGED_FORMAT, Manifest, Partition, Source
from shared.job.source.files import FileState, from_json, to_json
from shared.processes.failpoints import failpoint
from shared.storage import files

FORMAT: Final = 1
ADD: Final = "add"
"""The action of a change that adds images which were named one by one, in its source or not."""
UPDATE: Final = "update"
"""The action of a change that puts a new image in the place of one that it removes."""
DELETE: Final = "delete"
"""The action of a change by which somebody took images out, whose files may still be in the source."""
REPLACING_FORMAT: Final = 2
"""The format of a change that replaces partitions: a version that knows none must not read what follows."""
Ids = npt.NDArray[np.int64]
LeftOut = npt.NDArray[np.uint64]
"""Deleted images of which a compaction leaves nothing, [n, 6]: the id of each, a key of its path, and the SHA-256 of
its bytes as four numbers. By these a refresh still knows their files."""
_NONE: Final[Ids] = np.empty(0, np.int64)
NOTHING_LEFT_OUT: Final[LeftOut] = np.empty((0, 6), np.uint64)
_LATEST: Final = 2.0**33  # The year 2242: what is beyond it was no time.


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One change: what it is called, the partitions that it adds or replaces, and the images that it removes.

    `removed` is int64 [n], ascending; `reasons` counts why they were removed. `archives` are the archives that images
    of these partitions are in, and those that were compared anew, as they were then. `source` is the number of the
    source that the partitions were listed in, 0 for that of the manifest; `adds` is that source, if it came to the job
    by this change. `at` is seconds since the epoch. Of a change that was read, `digest` is the SHA-256 of the file with
    the ids, "" where it removes none. `request` is the name of what asked for it, "/" and a digest of what that asked,
    so that one that comes twice finds what was done; "" where nothing does. `left_out` is written with a change; of one
    that was read, `read_left_out` gives it.
    """

    number: int
    action: str
    partitions: Sequence[Partition] = ()
    removed: Ids = field(default_factory=lambda: _NONE)
    reasons: dict[str, int] = field(default_factory=dict)
    archives: Mapping[str, FileState] = field(default_factory=dict)
    source: int = 0
    adds: Source | None = None
    at: float = 0.0
    made_by: str = ""
    digest: str = ""
    replaced: Sequence[Replaced] = ()
    request: str = ""
    left_out: LeftOut = field(default_factory=lambda: NOTHING_LEFT_OUT)
    left_out_digest: str = ""

    @property
    def named(self) -> str:
        """The change as a sentence names it: which one, what it was, and when."""
        return f"change {self.number}, {self.action}, {datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M} UTC"


def write_change(job: JobDir, manifest: Manifest, change: Change) -> None:
    """Append a change to the log of a job of `manifest`: with its JSON file it has happened.

    Raises JobBusy where another change of its number is there already: two changed the job at once, and this one was
    made for a job that is another one now.
    """
    _mark_changed(job, manifest)
    failpoint("write_change")
    table: dict[str, Any] = {
        "format": REPLACING_FORMAT if change.replaced else FORMAT,
        "number": change.number,
        "action": change.action,
        "partitions": [[one.number, one.start, one.stop] for one in change.partitions],
        "removed": None,
        "reasons": change.reasons,
        "at": change.at or time.time(),
        "made_by": f"lookalike {version('lookalike')}",
    }
    if change.replaced:
        table["replaced"] = [one.to_json() for one in change.replaced]
    if change.archives:
        table["archives"] = to_json(change.archives)
    if change.request:
        table["request"] = change.request
    if change.source:
        table["source"] = change.source
    if change.adds is not None:
        table["adds"] = change.adds.to_json()
    if len(change.removed):
        table["removed"] = _write_array(job, change.number, np.asarray(change.removed, np.int64))
    if len(change.left_out):
        table["left_out"] = _write_array(job, change.number, change.left_out)
    data = (json.dumps(table, indent=2) + "\n").encode()
    failpoint("commit_change")
    files.write_bytes(job.change(change.number), data, keep_first=True)
    if files.read_marker(job.change(change.number)) != data:
        raise JobBusy(
            f"Another process changed {job.path} at the same time, as its change {change.number}: nothing of this one "
            "was done. Run the command again."
        )


def read_change(job: JobDir, number: int) -> Change:
    """A change of the log. Raises CorruptFile when it is not what was written, JobMismatch for a newer format."""
    path = job.change(number)
    try:
        table = json.loads(files.read_marker(path))
        if table["format"] not in (FORMAT, REPLACING_FORMAT):
            raise JobMismatch(
                f"{path} has format {table['format']}, and this version of lookalike reads the formats {FORMAT} and "
                f"{REPLACING_FORMAT}: use the version that made the change."
            )
        if (table["format"] == REPLACING_FORMAT) != bool(table.get("replaced")):
            raise ValueError(f"its format is {table['format']}, and it replaces {len(table.get('replaced', ()))}")
        if table["number"] != number:
            raise ValueError(f"it is the change {table['number']}")
        if not 0 <= table["at"] < _LATEST:
            raise ValueError(f"it was made at {table['at']!r:.80}")
        return Change(
            number=number,
            action=str(table["action"]),
            partitions=tuple(Partition(*(int(value) for value in one)) for one in table["partitions"]),
            removed=_NONE if table["removed"] is None else _read_removed(job, number, table["removed"]),
            reasons={str(reason): int(count) for reason, count in table["reasons"].items()},
            archives=from_json(table.get("archives", {})),
            source=int(table.get("source", 0)),
            adds=Source.from_json(table["adds"]) if "adds" in table else None,
            at=float(table["at"]),
            made_by=str(table["made_by"]),
            digest="" if table["removed"] is None else str(table["removed"]["sha256"]),
            replaced=tuple(map(replaced_from_json, table.get("replaced", ()))),
            request=str(table.get("request", "")),
            left_out_digest=str(table["left_out"]["sha256"]) if "left_out" in table else "",
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(job, f"{path} can't be read ({error!r:.200})") from None


def _mark_changed(job: JobDir, manifest: Manifest) -> None:
    """Give job.json the format of a job that changes, before its first change; it stays as it is otherwise.

    The identity is written into it where it was taken from its bytes until now.
    """
    table = json.loads(files.read_marker(job.spec))
    if table["format"] != CHANGED_FORMAT:
        failpoint("write_manifest")
        table |= {"format": CHANGED_FORMAT, "identity": manifest.identity}
        files.write_bytes(job.spec, (json.dumps(table, indent=2) + "\n").encode())


def read_left_out(job: JobDir, change: Change) -> LeftOut:
    """What a change that was read leaves out. Raises CorruptFile where its file is missing or not what was written."""
    if not change.left_out_digest:
        return NOTHING_LEFT_OUT
    path = job.removed(change.number, change.left_out_digest)
    found = _read_array(job, path, change.left_out_digest, f"what change {change.number} leaves out")
    if found.dtype != np.uint64 or found.ndim != 2 or found.shape[1] != NOTHING_LEFT_OUT.shape[1]:
        raise _damaged(job, f"{path} does not hold what change {change.number} leaves out")
    return found


def _write_array(job: JobDir, number: int, array: npt.NDArray[Any]) -> dict[str, Any]:
    """Write an array beside a change, under its checksum; what the change says of it."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    files.write_bytes(job.removed(number, digest), file.getvalue())
    return {"count": len(array), "sha256": digest}


def _read_array(job: JobDir, path: Path, digest: str, what: str) -> npt.NDArray[Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _damaged(job, f"{path}, {what}, is missing") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise _damaged(job, f"{path} has another checksum than its change says")
    array: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return array


def _read_removed(job: JobDir, number: int, entry: dict[str, Any]) -> Ids:
    path = job.removed(number, str(entry["sha256"]))
    ids: Ids = _read_array(job, path, str(entry["sha256"]), f"the ids that change {number} removes")
    if ids.dtype != np.int64 or ids.shape != (entry["count"],) or not np.all(np.diff(ids) > 0):
        raise _damaged(job, f"{path} does not hold {entry['count']} ids in ascending order")
    return ids


def _damaged(job: JobDir, what: str) -> CorruptFile:
    return CorruptFile(
        f"{what}, and without each of its changes it is not known what the job holds: restore it from a copy",
        remedy=Remedy("verify", str(job.path), "{} names every file that is damaged"),
    )


def read_changes(job: JobDir) -> list[Change]:
    """All changes of a job, in order; none of a job that was never changed.

    Raises CorruptFile when one is missing or damaged, JobMismatch when a newer version made one.
    """
    return [read_change(job, number) for number in range(1, last_change(job) + 1)]


def last_change(job: JobDir) -> int:
    """The number of the last change, 0 of a job that was never changed; those before it have no gaps."""
    numbers = job.change_numbers()
    # A mount's listing may lag behind, so what it does not show is asked for by name.
    last = numbers[-1] if numbers else 0
    while job.change(last + 1).is_file():
        last += 1
    return last


def change_of(job: JobDir, request: str) -> Change | None:
    """The change that a request of this name asked for, None where it was not made yet; raises as `read_changes`."""
    # Backwards: a request that comes again comes soon.
    changes = (read_change(job, number) for number in range(last_change(job), 0, -1))
    return next((change for change in changes if request and change.request.partition("/")[0] == request), None)


def removal_of(job: JobDir, image_id: int) -> Change:
    """The change that removed an image; raises LookupError for one that none removed, and as `read_changes`."""
    for change in read_changes(job):
        if image_id in change.removed:
            return change
    raise LookupError(f"No change of {job.path} removed the image {image_id}.")
