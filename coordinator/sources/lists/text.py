"""Read the text of lists: tell UTF-8 from UTF-16 by its mark, and find the separator of its columns."""

import codecs
import csv
import io
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import IO, Any, Final

from shared.errors import SourceError

LINE_BYTES: Final = 65_536
"""No path is this long; a file without line ends must not be read into memory whole."""

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # UTF-32 comes before UTF-16, whose mark it begins with.
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


class _Again(io.RawIOBase):
    """A stream whose first bytes were read already, again from its beginning."""

    def __init__(self, first: bytes, file: IO[bytes]) -> None:
        self._first = first
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._first[: len(buffer)] or self._file.readline(len(buffer))
        self._first = self._first[len(data) :]
        buffer[: len(data)] = data
        return len(data)


def _marked(first: bytes) -> tuple[bytes, str]:
    """The mark at the beginning of a text, and the encoding that it stands for; without a mark, none and utf-8."""
    return next(((mark, encoding) for mark, encoding in _MARKS if first.startswith(mark)), (b"", "utf-8"))


def text_of_list(file: IO[bytes]) -> io.TextIOWrapper:
    """The text of a list. Bytes that are no UTF-8 become surrogates, as Python has them in paths; bytes that are no
    UTF-16 behind its mark raise UnicodeDecodeError as they are read.
    """
    first = file.readline(LINE_BYTES)
    mark, encoding = _marked(first)
    reader = io.BufferedReader(_Again(first.removeprefix(mark), file))
    return io.TextIOWrapper(reader, encoding, errors="surrogateescape" if encoding == "utf-8" else "strict", newline="")


def utf8_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a list in UTF-8, without a mark, whatever encoding its mark says; of one that is longer than
    LINE_BYTES so many bytes at once, or characters of UTF-16. Raises UnicodeDecodeError as `text_of_list`.
    """
    first = file.readline(LINE_BYTES)
    mark, encoding = _marked(first)
    first = first.removeprefix(mark)
    if encoding == "utf-8":
        return chain([first] if first or mark else [], iter(partial(file.readline, LINE_BYTES), b""))
    text = io.TextIOWrapper(io.BufferedReader(_Again(first, file)), encoding, newline="\n")
    return (line.encode() for line in iter(partial(text.readline, LINE_BYTES), ""))


def separator(source: str, line: str, names: frozenset[str]) -> str:
    """The separator of the columns of a list whose first line is `line`: a comma, semicolon, tab or bar.

    If the line has several, it is the one that gives a column one of `names`. SourceError when that is not clear.
    """
    fields = {one: next(csv.reader([line], delimiter=one), []) for one in _SEPARATORS}
    splits = [one for one, found in fields.items() if len(found) > 1]
    if len(splits) < 2:
        return splits[0] if splits else ","
    named = [one for one in splits if any(field.strip().lower() in names for field in fields[one])]
    if len(named) == 1:
        return named[0]
    raise SourceError(
        f"The first line of {source} has {' and '.join(_SEPARATORS[one] for one in splits)}, and which of them "
        "separate its columns can't be told: put names that hold them in quotes, and name the column "
        "of the paths image_path."
    )
