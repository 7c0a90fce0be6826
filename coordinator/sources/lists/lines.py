"""Lists as lines of text: one path a line, or a NUL behind each."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO, BinaryIO, Final

from coordinator.sources.listing import ListedImage
from coordinator.sources.lists.places import beside_source
from coordinator.sources.lists.text import LINE_BYTES, utf8_lines
from shared.errors import SourceError
from shared.images.location import opened

_LOOKED_AT: Final = 64  # How many bytes of a list tell whether it is UTF-16.


def lines(source: str, left_out: Counter[str]) -> Iterator[ListedImage]:
    """The paths in the text file `source`, one a line; relative ones are relative to the folder that it is in."""
    with opened(source) as file:
        yield from paths_in(file, beside_source(source), left_out)


def paths_in(file: BinaryIO | IO[bytes], place: Callable[[str], str], left_out: Counter[str]) -> Iterator[ListedImage]:
    """The paths in an open text file, one a line, or with a NUL behind each, as `find -print0` writes them.

    The text is UTF-8, or UTF-16 behind its mark; `place` resolves a relative path.
    """
    try:
        lines = utf8_lines(file)
        first = next(lines, None)
        if first is not None:
            read = _ended_by_nul if b"\0" in first else _in_lines
            yield from read(chain([first], lines), place, left_out)
    except UnicodeDecodeError as error:
        raise SourceError(f"The list is no {error.encoding}, as its first bytes say: save it as UTF-8.") from None


def _in_lines(lines: Iterable[bytes], place: Callable[[str], str], left_out: Counter[str]) -> Iterator[ListedImage]:
    for number, line in enumerate(lines):
        text = os.fsdecode(line.rstrip(b"\r\n"))
        if not text:
            left_out["blank line"] += 1
            continue
        if "\0" in text:
            raise SourceError(
                f"Line {number + 1} of the list holds a NUL byte, which no path can: give it as UTF-8 text, one path a "
                "line."
            )
        if len(line) >= LINE_BYTES and not line.endswith(b"\n"):
            raise SourceError(f"Line {number + 1} of the list is longer than any path: give one path a line.")
        yield ListedImage(place(text))


def _ended_by_nul(parts: Iterable[bytes], place: Callable[[str], str], left_out: Counter[str]) -> Iterator[ListedImage]:
    rest = b""
    for number, part in enumerate(parts):
        if number == 0 and not (any(part[:_LOOKED_AT:2]) and any(part[1:_LOOKED_AT:2])):
            raise SourceError(
                "Line 1 of the list holds a NUL byte at every second place, so it is UTF-16 without the mark that says "
                "so: save it as UTF-8."
            )
        *paths, rest = (rest + part).split(b"\0")
        if max(map(len, (*paths, rest))) >= LINE_BYTES:
            raise SourceError("A path of the list, which has a NUL behind each, is longer than any path.")
        for path in paths:
            if path:
                yield ListedImage(place(os.fsdecode(path)))
            else:
                left_out["blank line"] += 1
    if rest.endswith(b"\n"):
        raise SourceError(
            "The list has a NUL byte in its first line and ends with a line: give one path a line, or a NUL behind "
            "each path."
        )
    if rest:
        yield ListedImage(place(os.fsdecode(rest)))
