"""Sources: a folder, a list file or standard input -> ordered image paths, streamed."""

import codecs
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
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
# Reasons that are counted apart. Suffixes such as `.20240131` could be as many as there are files.
_REASONS = 40


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
    if path.is_dir():
        return Listing("folder", to_text(str(path)), _walk(os.fsencode(path), left_out), left_out)
    if not path.exists():
        raise SourceError(f"There is nothing at {path}: name a folder of images, a .txt list of paths, or - for stdin.")
    if path.suffix.lower() != ".txt":
        raise SourceError(f"{path} is neither a folder nor a .txt list of image paths, one a line.")
    return Listing("list", to_text(str(path)), _from_file(path, left_out), left_out)


def _from_file(path: Path, left_out: Counter[str]) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            yield from _listed(file, path.parent, left_out)
    except OSError as error:
        raise SourceError(f"The list {path} can't be read: {error}.") from None


def _listed(lines: BinaryIO, base: Path, left_out: Counter[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
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
        # pathlib drops `.` and double slashes, but keeps `..`: behind a link to a directory it leads elsewhere.
        yield to_text(str(base / text))


def _walk(folder: bytes, left_out: Counter[str], above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """The images under `folder`, depth first, each directory in the byte order of its names.

    Linked directories are followed, except into one of those `above` (by device and inode), which would never end.
    """
    directories: set[bytes] = set()
    listed: list[bytes] = []  # Names alone: a folder of two million images takes a hundred megabytes so.
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            left_out["link to a folder above itself"] += 1
            return
        with os.scandir(folder) as entries:
            for entry in entries:
                reason = _reason_to_leave_out(entry)
                if reason == _DIRECTORY:
                    directories.add(entry.name)
                if reason in (None, _DIRECTORY):
                    listed.append(entry.name)
                elif reason in left_out or len(left_out) < _REASONS:
                    left_out[reason] += 1
                else:
                    left_out["other"] += 1
    except OSError as error:
        raise SourceError(
            f"The folder {to_text(os.fsdecode(folder))} can't be listed ({error.strerror}): make it readable, or give "
            "a list of paths without it."
        ) from None
    listed.sort()
    for name in listed:
        path = os.path.join(folder, name)
        if name in directories:
            yield from _walk(path, left_out, above | {here})
        else:
            yield to_text(os.fsdecode(path))


def _reason_to_leave_out(entry: "os.DirEntry[bytes]") -> str | None:
    """None for an image, _DIRECTORY for what is walked into, else why the entry is not listed."""
    try:
        if entry.is_dir():
            return _DIRECTORY
        regular = entry.is_file()
        broken = entry.is_symlink() and not os.path.exists(entry.path)
    except OSError:
        # A link that leads to itself, or to where nobody may look. For anything else the folder's own error is due.
        if not entry.is_symlink():
            raise
        regular, broken = False, True
    if not regular and not broken:
        return "not a regular file"
    suffix = os.path.splitext(entry.name)[1].lower().decode("ascii", "backslashreplace")
    if suffix in IMAGE_SUFFIXES:
        # So is a link to nothing: the image was meant to be there, and its error row says that it is not.
        return None
    return "link to nothing" if broken else suffix or "without suffix"
