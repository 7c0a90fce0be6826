"""Lists of image paths: lines of text, a CSV file, or a Parquet file; their further columns are kept."""

import codecs
import csv
import io
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from coordinator.listing import Listed
from coordinator.plain_values import is_plain, plain_rows, require_distinct
from coordinator.written import number as number_of
from shared import image_parquet
from shared.errors import SourceError
from shared.locations import opened
from shared.paths import is_file_uri, is_url, member_text, split_member, to_os_path, to_text

_LINE_BYTES = 65_536  # No path is as long; a file without line ends must not be read into memory whole.
_ROWS: Final = 1_024
# What people call the column of the paths, the first of them that is there.
_NAMES: Final = (
    "image_path", "path", "file_path", "filepath", "file", "filename", "file_name", "image", "img", "image_url", "url",
)  # fmt: skip


def lines(source: str, left_out: Counter[str]) -> Iterator[Listed]:
    """The paths in the text file `source`, one a line; relative ones are relative to the folder that it lies in."""
    with opened(source) as file:
        yield from paths_in(file, _beside(source), left_out)


def paths_in(file: BinaryIO | IO[bytes], place: Callable[[str], str], left_out: Counter[str]) -> Iterator[Listed]:
    """The paths in an open text file; `place` says where a relative one leads."""
    for number, line in enumerate(iter(partial(file.readline, _LINE_BYTES), b"")):
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
        yield Listed(place(text))


def beside(base: Path) -> Callable[[str], str]:
    """Where a path of a list leads whose relative ones are relative to `base`; URLs and archives' members are known."""

    def place(text: str) -> str:
        if is_url(text):
            return text
        if is_file_uri(text):  # As hits give a name that is no UTF-8 or holds a control character.
            return to_text(str(base / to_os_path(text)))
        # One that our own hits give back, of an image in an archive or with a name that is no UTF-8.
        inside = split_member(text)
        if inside is not None:
            return member_text(to_text(str(base / to_os_path(inside[0]))), inside[1])
        # pathlib drops `.` and double slashes, but keeps `..`: behind a link to a directory it leads elsewhere. That
        # takes its time, and an absolute path mostly has nothing to drop.
        plain = text.startswith("/") and not ("//" in text or "/." in text or text.endswith("/"))
        return to_text(text if plain else str(base / text))

    return place


def _beside(source: str) -> Callable[[str], str]:
    if not is_url(source):
        return beside(Path(to_os_path(source)).parent)
    folder = posixpath.dirname(source)
    return lambda text: text if is_url(text) else posixpath.join(folder, text)


def rows_of_csv(source: str, left_out: Counter[str]) -> Iterator[Listed]:
    """The rows of a CSV file with a header, in UTF-8: one column holds the paths, the others what else is known.

    Raises SourceError when no column can be that of the paths, or a row has more fields than the header.
    """
    place = _beside(source)
    with opened(source) as file, io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text)
        try:
            header = next(reader, [])
            header = [_clean(name) for name in header]
            require_distinct(source, header)
            at = header.index(path_column(source, header))
            for row in reader:
                if not row or not row[at : at + 1] or not row[at]:
                    left_out["row without a path"] += 1
                    continue
                if len(row) > len(header):
                    raise SourceError(
                        f"Line {reader.line_num} of {source} has {len(row)} fields, and the header {len(header)}: put "
                        "what holds commas in quotes."
                    )
                known = {name: _value(field) for name, field in zip(header, row, strict=False)}
                del known[header[at]]
                yield Listed(place(row[at]), known=known)
        except csv.Error as error:
            raise SourceError(f"Line {reader.line_num} of {source} can't be read as CSV ({error}).") from None


def _value(field: str) -> Any:
    """What a field of a CSV file says: a number only where it is written as one; empty is unknown."""
    if not field:
        return None
    found = number_of(field)
    return _clean(field) if found is None else found


def _clean(field: str) -> str:
    return field.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def rows_of_parquet(source: str, left_out: Counter[str]) -> Iterator[Listed]:
    """The rows of a Parquet file with a column of paths; columns of plain values are kept, the others counted."""
    place = _beside(source)
    with image_parquet.opened(source) as file:
        schema = file.schema_arrow
        require_distinct(source, schema.names)
        column = path_column(source, schema.names)
        plain = [field.name for field in schema if is_plain(field.type)]
        if column not in plain:
            raise SourceError(f"The column {column!r} of {source} is {schema.field(column).type}; expected paths.")
        for name in set(schema.names) - set(plain):
            left_out[f"column {name} of {schema.field(name).type}"[:80]] += 1
        for batch in file.iter_batches(_ROWS, columns=plain, use_threads=False):
            for row in plain_rows(batch, plain):
                path = row.pop(column)
                if path:
                    yield Listed(place(str(path)), known=row)
                else:
                    left_out["row without a path"] += 1


def path_column(source: str, columns: Sequence[str]) -> str:
    """The column that holds the paths: by its name, or the only one; SourceError when none can be told."""
    by_name: Mapping[str, str] = {name.strip().lower(): name for name in reversed(columns)}
    found = next((by_name[name] for name in _NAMES if name in by_name), None)
    if found is None and len(columns) == 1 and columns[0]:
        found = columns[0]
    if found is None:
        raise SourceError(
            f"{source} has no column of image paths; its columns are {', '.join(columns) or 'none'}: name the one that "
            "is meant image_path."
        )
    return found


LISTS: Final[dict[str, Callable[[str, Counter[str]], Iterable[Listed]]]] = {
    ".txt": lines,
    ".csv": rows_of_csv,
    ".parquet": rows_of_parquet,
}
"""By its suffix, what reads a list file."""
