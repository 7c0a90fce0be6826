"""Sources: a folder, a list file or standard input -> ordered image paths, streamed."""

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
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        return Listing(
            "folder", to_text(str(path)), _walk(str(path), left_out), left_out
        )
    if not path.exists():
        raise SourceError(
            f"There is nothing at {path}: name a folder of images, a .txt list of paths, or - for stdin."
        )
    if path.suffix.lower() != ".txt":
        raise SourceError(
            f"{path} is neither a folder nor a .txt list of image paths, one a line."
        )
    return Listing("list", to_text(str(path)), _from_file(path, left_out), left_out)


def _from_file(path: Path, left_out: Counter[str]) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            yield from _listed(file, path.parent, left_out)
    except OSError as error:
        raise SourceError(f"The list {path} can't be read: {error}.") from None


def _listed(lines: BinaryIO, base: Path, left_out: Counter[str]) -> Iterator[str]:
    for line in lines:
        text = os.fsdecode(line.rstrip(b"\r\n"))
        if not text:
            left_out["blank line"] += 1
            continue
        if "\0" in text:
            raise SourceError(
                "The list holds a NUL byte, which no path can: give it as text, one path a line."
            )
        yield to_text(os.path.normpath(os.path.join(base, text)))


def _walk(
    folder: str, left_out: Counter[str], above: tuple[tuple[int, int], ...] = ()
) -> Iterator[str]:
    """The images under `folder`, depth first, each directory in the byte order of its names.

    Linked directories are followed, except into one of those above, which would never end.
    """
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise SourceError(
            f"The folder {folder} can't be listed ({error.strerror}): make it readable, or give a list of paths without it."
        ) from None
    above = (*above, (status.st_dev, status.st_ino))
    for entry in ordered:
        try:
            if entry.is_dir():
                inside = entry.stat()
                if (inside.st_dev, inside.st_ino) in above:
                    left_out["link to a folder above itself"] += 1
                else:
                    yield from _walk(entry.path, left_out, above)
                continue
            # A link to nothing is listed: the image was meant to be there, and its error row says that it is not.
            regular = entry.is_file() or (
                entry.is_symlink() and not os.path.exists(entry.path)
            )
        except OSError as error:
            raise SourceError(
                f"{entry.path} can't be looked at ({error.strerror})."
            ) from None
        suffix = os.path.splitext(entry.name)[1].lower()
        if not regular:
            left_out["not a regular file"] += 1
        elif suffix not in IMAGE_SUFFIXES:
            left_out[f"{suffix or 'without suffix'}"] += 1
        else:
            yield to_text(entry.path)
