"""Resolve where the files of a moved source are now; the job itself still names them as they were listed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.errors import CorruptFile
from shared.errors.remedy import Remedy
from shared.images.paths import is_url, split_member, to_os_path, to_text
from shared.job.directory import JobDir
from shared.storage import files

_FORMAT: Final = 1
_INSIDE: Final = "job://"
_STORED: Final = re.compile(_INSIDE + "added/[0-9a-f]{64}/[^/]+")


@dataclass(frozen=True, slots=True)
class Moved:
    """A file, or a folder with everything in it, that was at `old` when it was listed and is at `new` now.

    Both are texts as `to_text` makes them. Where they are the same, as without any, nothing moved. A path is carried
    over once and from what was listed, so that the new place may be in the old one, or the other way round. Of files
    that have another name there, `renamed` gives where they are by what they were listed as. `job` is the directory or
    URL of the job: images that it holds itself are listed by their place in it.
    """

    old: str = ""
    new: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    job: str = field(default="", compare=False)
    _back: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_back", {new: old for old, new in self.renamed.items()})

    def now(self, path: str) -> str:
        """Where the image, archive or folder is that the job lists as `path`; the same where it did not move."""
        if path.startswith(_INSIDE) and self.job and is_stored(path):
            place = f"{self.job}/{place_of(path)}"
            return place if is_url(self.job) else to_text(place)
        return _carried(path, self.old, self.new, self.renamed)

    def listed(self, path: str) -> str:
        """As what the job lists the image, archive or folder that is at `path` now: the inverse of `now`."""
        if "/added/" in path and self.job:
            place = path if is_url(path) else to_os_path(path)
            inside = _INSIDE + place.removeprefix(f"{self.job}/")
            if place.startswith(f"{self.job}/") and is_stored(inside):
                return inside
        return _carried(path, self.new, self.old, self._back)


NOT_MOVED: Final = Moved()
"""What is where it was listed."""


def stored_path(digest: str, name: str) -> str:
    """What a job lists an image as that it holds itself: see `JobDir.added`."""
    return f"{_INSIDE}added/{digest}/{name}"


def place_of(path: str) -> str:
    """The place inside the job of an image that it lists as `stored_path`."""
    return path.removeprefix(_INSIDE)


def is_stored(path: str) -> bool:
    """Whether a job lists as `path` an image that it holds itself."""
    return _STORED.fullmatch(path) is not None


def _carried(path: str, source: str, target: str, renamed: Mapping[str, str]) -> str:
    if (source == target and not renamed) or is_url(path):
        return path
    inside = split_member(path)
    archive = path if inside is None else inside[0]
    if archive in renamed:
        return renamed[archive] + path[len(archive) :]
    if source == target:
        return path
    os_path, root = to_os_path(archive), to_os_path(source)
    above = root.rstrip("/")
    if os_path != root and not os_path.startswith(f"{above}/"):
        return path
    there = to_os_path(target).rstrip("/") + os_path[len(above) :].rstrip("/" if os_path == root else "")
    return to_text(there or "/") + path[len(archive) :]


def read_moved(job: JobDir) -> Moved:
    """Where the source of a job moved to; a `Moved` that changes no path where it did not.

    Raises CorruptFile when the file is not what `write_moved` writes, OSError as the file system gives it.
    """
    try:
        table: dict[str, Any] = json.loads(files.read_marker(job.moved))
        if table["format"] != _FORMAT:
            raise ValueError(f"its format is {table['format']!r}, and this version of lookalike knows {_FORMAT}")
        (move,) = table["moves"]
        renamed = dict(move.get("renamed", {}))
        if not all(isinstance(text, str) for text in (move["old"], move["new"], *renamed, *renamed.values())):
            raise TypeError("its places are no texts")
        return Moved(move["old"], move["new"], renamed, str(job.path))
    except FileNotFoundError:
        return Moved(job=str(job.path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(
            f"{job.moved} does not say where the source of the job moved to ({error!r})",
            remedy=Remedy(
                "index",
                str(job.path),
                "restore it from a copy, or remove it, and {} says it again",
                {"source": "NEWPLACE", "moved": ""},
            ),
        ) from None


def write_moved(job: JobDir, moved: Moved) -> None:
    """Say in a job where its source moved to, in place of what was said before; nothing is said once it is back."""
    if moved.old == moved.new and not moved.renamed:
        job.moved.unlink(missing_ok=True)
        return
    move = {"old": moved.old, "new": moved.new} | ({"renamed": dict(moved.renamed)} if moved.renamed else {})
    table = {"format": _FORMAT, "moves": [move]}
    files.write_bytes(job.moved, (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode())
