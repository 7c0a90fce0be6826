"""Sources: a folder, a list file or standard input -> ordered image paths, streamed."""

import codecs
import errno
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from shared.errors import SourceError
from shared.paths import to_text

# What OpenCV decodes and cameras, browsers and archives write. A folder's other files are counted, not listed.
IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".gif",
        ".avif",
        ".jp2",
        ".pbm",
        ".pgm",
        ".ppm",
        ".pnm",
    ]
)

_DIRECTORY = "directory"
# Suffixes that are counted apart. Those such as `.20240131` could be as many as there are files.
_SUFFIXES = 40
# What can be wrong with one folder alone. Any other failure is that of the disk, and would leave out half a source.
_FOLDER_REASONS = {
    errno.EACCES: "folder without permission",
    errno.EPERM: "folder without permission",
    errno.ENAMETOOLONG: "folder with too long a path",
    errno.ENOENT: "folder that vanished while it was listed",
    errno.ENOTDIR: "folder that vanished while it was listed",
}
_LINE_BYTES = 65_536  # No path is as long; a file without line ends must not be read into memory whole.


@dataclass(slots=True)
class Listing:
    """A source that is being listed: iterate over it for the image paths, in the order that gives the image ids.

    `kind` is folder, list or stdin; `location` what identifies it to a person. `left_out` counts, by reason, what was
    seen and not listed; it is complete when the iteration has ended.
    """

    kind: str
    location: str
    _paths: Iterator[str]
    left_out: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[str]:
        return self._paths


def open_source(source: str, stdin: BinaryIO | None = None) -> Listing:
    """The listing of SOURCE: a folder (recursive), a .txt list of paths, or `-` for a list on standard input.

    Relative paths in a list file are relative to the list, those on standard input to the working directory. Raises
    SourceError when there is no such source; while it is iterated, when a part of it can't be listed.
    """
    left_out: Counter[str] = Counter()
    if source == "-":
        return Listing(
            "stdin",
            "-",
            _listed(stdin or sys.stdin.buffer, Path.cwd(), left_out),
            left_out,
        )
    path = Path(os.path.expanduser(source)).absolute()
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(
            f"There is nothing at {path}: name a folder of images, a .txt list of paths, or - for stdin."
        ) from None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} can't be looked at ({getattr(error, 'strerror', error)}).") from None
    if stat.S_ISDIR(mode):
        return Listing("folder", to_text(str(path)), _walk(os.fsencode(path), left_out), left_out)
    if path.suffix.lower() != ".txt":
        raise SourceError(f"{path} is neither a folder nor a .txt list of image paths, one a line.")
    if not stat.S_ISREG(mode):  # It is read twice, and from beginning to end.
        raise SourceError(f"{path} is no regular file: give the list on standard input, with - as the source.")
    return Listing("list", to_text(str(path)), _from_file(path, left_out), left_out)


def _from_file(path: Path, left_out: Counter[str]) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            yield from _listed(file, path.parent, left_out)
    except OSError as error:
        raise SourceError(f"The list {path} can't be read ({error.strerror}).") from None


def _listed(lines: BinaryIO, base: Path, left_out: Counter[str]) -> Iterator[str]:
    for number, line in enumerate(iter(partial(lines.readline, _LINE_BYTES), b"")):
        if number == 0:
            line = line.removeprefix(codecs.BOM_UTF8)  # Windows editors begin a text with it.
        text = os.fsdecode(line.rstrip(b"\r\n"))
        if not text:
            left_out["blank line"] += 1
            continue
        if "\0" in text:
            raise SourceError(
                f"Line {number + 1} of the list holds a NUL byte, which no path can: give it as UTF-8 text, one path a "
                "line."
            )
        if len(line) == _LINE_BYTES and not line.endswith(b"\n"):
            raise SourceError(f"Line {number + 1} of the list is longer than any path: give one path a line.")
        # pathlib drops `.` and double slashes, but keeps `..`: behind a link to a directory it leads elsewhere.
        yield to_text(str(base / text))


@dataclass(slots=True)
class _Folder:
    """A folder that is being walked: its names in order, and which of them are folders."""

    path: bytes
    identity: tuple[int, int]
    names: Iterator[bytes]
    folders: frozenset[bytes]


def _walk(root: bytes, left_out: Counter[str]) -> Iterator[str]:
    """The images under `root`, depth first, each folder in the byte order of its names.

    Linked folders are followed, except into one of those above, by device and inode, which would never end.
    """
    above: list[_Folder] = []  # A list and no recursion: folders may be nested deeper than Python calls.
    try:
        found: _Folder | None = _listed_folder(root, left_out)
    except OSError as error:
        raise _unlistable(root, error) from None
    while found is not None or above:
        if found is not None:
            above.append(found)
            found = None
        name = next(above[-1].names, None)
        if name is None:
            above.pop()
            continue
        path = os.path.join(above[-1].path, name)
        if name in above[-1].folders:
            found = _folder_below(above, path, left_out)
        else:
            yield to_text(os.fsdecode(path))


def _folder_below(above: list[_Folder], path: bytes, left_out: Counter[str]) -> _Folder | None:
    """The folder at `path`; None when it is left out, and is counted."""
    try:
        if _identity(path) in [folder.identity for folder in above]:
            left_out["link to a folder above itself"] += 1
            return None
        return _listed_folder(path, left_out)
    except OSError as error:
        reason = _FOLDER_REASONS.get(error.errno or 0)
        # A folder that is not there any more was deleted, or the whole source went away with its mount.
        if reason is None or (error.errno in (errno.ENOENT, errno.ENOTDIR) and not _are_there(above)):
            raise _unlistable(path, error) from None
        left_out[reason] += 1
        return None


def _listed_folder(path: bytes, left_out: Counter[str]) -> _Folder:
    folders: set[bytes] = set()
    listed: list[bytes] = []  # Names alone: a folder of two million images takes a hundred megabytes so.
    identity = _identity(path)
    with os.scandir(path) as entries:
        for entry in entries:
            reason = _reason_to_leave_out(entry)
            if reason == _DIRECTORY:
                folders.add(entry.name)
            if reason in (None, _DIRECTORY):
                listed.append(entry.name)
            elif not reason.startswith(".") or reason in left_out or _suffixes(left_out) < _SUFFIXES:
                left_out[reason] += 1
            else:
                left_out["other"] += 1
    listed.sort()
    return _Folder(path, identity, iter(listed), frozenset(folders))


def _suffixes(left_out: Counter[str]) -> int:
    return sum(reason.startswith(".") for reason in left_out)


def _identity(path: bytes) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _are_there(above: list[_Folder]) -> bool:
    try:
        return all(_identity(folder.path) == folder.identity for folder in above)
    except OSError:
        return False


def _unlistable(path: bytes, error: OSError) -> SourceError:
    return SourceError(
        f"The folder {to_text(os.fsdecode(path))} can't be listed ({error.strerror}): make it readable, or give a list "
        "of paths without it."
    )


def _reason_to_leave_out(entry: "os.DirEntry[bytes]") -> str | None:
    """None for an image, _DIRECTORY for what is walked into, else why the entry is not listed."""
    try:
        if entry.is_dir():
            return _DIRECTORY
        regular = entry.is_file()
        broken = entry.is_symlink() and not os.path.exists(entry.path)
    except OSError as error:
        # A link that leads to itself, or to where nobody may look. For anything else the folder's own error is due; but
        # what has too long a path is listed by its name, so that an image has its error row.
        regular = error.errno == errno.ENAMETOOLONG
        if not regular and not entry.is_symlink():
            raise
        broken = not regular
    if not regular and not broken:
        return "not a regular file"
    suffix = os.path.splitext(entry.name)[1].lower().decode("ascii", "backslashreplace")
    if suffix in IMAGE_SUFFIXES:
        # So is a link to nothing: the image was meant to be there, and its error row says that it is not.
        return None
    return "link to nothing" if broken else suffix or "without suffix"
