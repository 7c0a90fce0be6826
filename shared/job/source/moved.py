"""Resolve where the files of a moved source are now; the job itself still names them as they were listed."""

import json
import re
from collections.abc import Mapping, Sequence
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
_Roots = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Moved:
    """A file, or a folder with everything in it, that was at `old` when it was listed and is at `new` now.

    `more` are further ones, each as it was and as it is, where several sources of a job moved; the nearest above a path
    decides. All are texts as `to_text` makes them. Where they are the same, as without any, nothing moved. A path is
    carried over once and from what was listed, so that the new place may be in the old one, or the other way round. Of
    files that have another name there, `renamed` gives where they are by what they were listed as. `job` is the
    directory or URL of the job that holds the images which are listed by their place in it: of a bundle, which carries
    none of them, that of the job that it was made of.
    """

    old: str = ""
    new: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    more: Sequence[tuple[str, str]] = ()
    job: str = field(default="", compare=False)
    _back: dict[str, str] = field(init=False, repr=False, compare=False)
    _there: _Roots = field(init=False, repr=False, compare=False)
    _home: _Roots = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_back", {new: old for old, new in self.renamed.items()})
        object.__setattr__(self, "_there", _roots(self.places))
        object.__setattr__(self, "_home", _roots([(new, old) for old, new in self.places]))

    def __bool__(self) -> bool:
        """Whether anything is somewhere else, or may be."""
        return bool(self._there or self.renamed)

    @property
    def places(self) -> list[tuple[str, str]]:
        """Each file or folder that moved, as it was listed and as it is."""
        return [(old, new) for old, new in ((self.old, self.new), *self.more) if old != new]

    def now(self, path: str) -> str:
        """Where the image, archive or folder is that the job lists as `path`; the same where it did not move."""
        if path.startswith(_INSIDE) and self.job and is_stored(path):
            place = f"{self.job}/{place_of(path)}"
            return place if is_url(self.job) else to_text(place)
        return _carried(path, self._there, self.renamed)

    def listed(self, path: str) -> str:
        """As what the job lists the image, archive or folder that is at `path` now: the inverse of `now`."""
        if "/added/" in path and self.job:
            place = path if is_url(path) else to_os_path(path)
            inside = _INSIDE + place.removeprefix(f"{self.job}/")
            if place.startswith(f"{self.job}/") and is_stored(inside):
                return inside
        return _carried(path, self._home, self._back)


def _roots(places: Sequence[tuple[str, str]]) -> _Roots:
    """The roots of `places` on the disk, each with its target; the nearest above a path comes first."""
    roots = [(to_os_path(source), to_os_path(target)) for source, target in places]
    return sorted(roots, key=lambda root: -len(root[0].rstrip("/")))


def stored_path(digest: str, name: str) -> str:
    """What a job lists an image as that it holds itself: see `JobDir.added`."""
    return f"{_INSIDE}added/{digest}/{name}"


def place_of(path: str) -> str:
    """The place inside the job of an image that it lists as `stored_path`."""
    return path.removeprefix(_INSIDE)


def is_stored(path: str) -> bool:
    """Whether a job lists as `path` an image that it holds itself."""
    return _STORED.fullmatch(path) is not None


def _carried(path: str, roots: _Roots, renamed: Mapping[str, str]) -> str:
    if not (roots or renamed) or is_url(path):
        return path
    inside = split_member(path)
    archive = path if inside is None else inside[0]
    if archive in renamed:
        return renamed[archive] + path[len(archive) :]
    if not roots:
        return path
    os_path = to_os_path(archive)
    for root, target in roots:
        above = root.rstrip("/")
        if os_path == root or os_path.startswith(f"{above}/"):
            there = target.rstrip("/") + os_path[len(above) :].rstrip("/" if os_path == root else "")
            return to_text(there or "/") + path[len(archive) :]
    return path


NOT_MOVED: Final = Moved()
"""What is where it was listed."""


def read_moved(job: JobDir) -> Moved:
    """Where the source of a job moved to; a `Moved` that changes no path where it did not.

    Raises CorruptFile when the file is not what `write_moved` writes, OSError as the file system gives it.
    """
    try:
        table: dict[str, Any] = json.loads(files.read_marker(job.moved))
        if table["format"] != _FORMAT:
            raise ValueError(f"its format is {table['format']!r}, and this version of lookalike knows {_FORMAT}")
        first, *others = places = [(move["old"], move["new"]) for move in table["moves"]]
        renamed = {old: new for move in table["moves"] for old, new in move.get("renamed", {}).items()}
        if not all(isinstance(text, str) for text in (*sum(places, ()), *renamed, *renamed.values())):
            raise TypeError("its places are no texts")
        holder = table.get("holder", str(job.path))
        if not isinstance(holder, str):
            raise TypeError("its holder is no text")
        return Moved(*first, renamed, tuple(others), holder)
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


def write_moved(job: JobDir, moved: Moved, *, holder: str = "") -> None:
    """Say in a job where its source moved to, in place of what was said before; nothing is said once it is back.

    `holder` is for a bundle of a job that holds images itself: its directory or URL.
    """
    if not moved and not holder:
        job.moved.unlink(missing_ok=True)
        return
    moves: list[dict[str, Any]] = [{"old": old, "new": new} for old, new in moved.places or [(moved.old, moved.new)]]
    if moved.renamed:
        moves[0]["renamed"] = dict(moved.renamed)
    table = {"format": _FORMAT, "moves": moves} | ({"holder": holder} if holder else {})
    files.write_bytes(job.moved, (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode())
