"""Read lists of image paths: lines of text, CSV, JSONL or Parquet files; their further columns are kept."""

import csv
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from coordinator.sources.choosing import IMAGE_SUFFIXES
from coordinator.sources.list_text import LINE_BYTES, separator, text_of_list, utf8_lines
from coordinator.sources.listing import ListedImage
from coordinator.sources.metadata.json_values import values_of
from coordinator.sources.metadata.numbers import number as number_of
from coordinator.sources.metadata.plain_values import is_plain, plain_rows, require_distinct
from shared.errors import SourceError
from shared.images import image_parquet
from shared.images.location import opened
from shared.images.paths import is_file_uri, is_url, member_text, split_member, to_os_path, to_text

_OBJECT_CHARACTERS: Final = 1 << 20
_LOOKED_AT: Final = 64  # How many bytes of a list tell whether it is UTF-16.
_ROWS: Final = 1_024
# The names that people give the column of paths; the first that is there counts.
_NAMES: Final = (
    "image_path", "path", "file_path", "filepath", "file", "filename", "file_name", "image", "img", "image_url", "url",
)  # fmt: skip


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


def beside(base: Path) -> Callable[[str], str]:
    """Resolve a path of a list whose relative paths are relative to `base`; it recognises URLs and members of
    archives.
    """

    def place(text: str) -> str:
        if is_url(text):
            return text
        if is_file_uri(text):  # Hits write a name so that is no UTF-8 or holds a control character.
            return to_text(str(base / to_os_path(text)))
        # This is a path from our own hits, of an image in an archive or with a name that is no UTF-8.
        inside = split_member(text)
        if inside is not None:
            return member_text(to_text(str(base / to_os_path(inside[0]))), inside[1])
        # pathlib drops `.` and double slashes, but keeps `..`, which leads elsewhere behind a link to a directory. That
        # takes time, and an absolute path mostly has nothing to drop.
        plain = text.startswith("/") and not ("//" in text or "/." in text or text.endswith("/"))
        return to_text(text if plain else str(base / text))

    return place


def beside_source(source: str) -> Callable[[str], str]:
    """Resolve a path that `source`, a file or a URL, names: relative paths are relative to its folder."""
    if not is_url(source):
        return beside(Path(to_os_path(source)).parent)
    folder = posixpath.dirname(source)
    return lambda text: text if is_url(text) else posixpath.join(folder, text)


def rows_of_csv(source: str, left_out: Counter[str]) -> Iterator[ListedImage]:
    """The rows of a CSV file: one column holds the paths, the others are source metadata.

    Commas, semicolons, tabs or bars separate its columns, as its header says; one column of paths needs no header.
    Raises SourceError when no column can hold the paths, or a row has more fields than the header.
    """
    place = beside_source(source)
    with opened(source) as file, text_of_list(file) as text:
        number = 0
        try:
            first = text.readline(LINE_BYTES)
            if len(first) == LINE_BYTES:
                raise SourceError(f"The first line of {source} is longer than any header: expected names of columns.")
            between = separator(source, first, frozenset(_NAMES))
            reader = csv.reader(chain([first] if first else [], text), delimiter=between, strict=True)
            header = next(reader, [])
            number = reader.line_num
            bare = len(header) == 1 and _is_path(header[0], place)  # There is one column of paths, and no header.
            if bare:
                yield ListedImage(_placed(source, number, header[0], place))
            header = [_clean(name) for name in header]
            require_distinct(source, header)
            at = header.index(_column_of_csv(source, header, place))
            only = len(header) == 1 and not bare and header[0].strip().lower() not in _NAMES
            for row in reader:
                number = reader.line_num
                if not row or not row[at : at + 1] or not row[at]:
                    left_out["row without a path"] += 1
                    continue
                if len(row) > len(header):
                    raise SourceError(
                        f"Line {number} of {source} has {len(row)} fields, and the header {len(header)}: put what "
                        "holds commas in quotes, or whatever else separates its columns."
                    )
                if only and "/" not in row[at] and not _is_path(row[at], place):
                    raise SourceError(
                        f"Line {number} of {source} holds {row[at]!r:.80}, which is no path of an image; its one "
                        f"column is {header[0]}: name the column that holds the paths image_path."
                    )
                only = False
                known = {name: _value(field) for name, field in zip(header, row, strict=False)}
                del known[header[at]]
                yield ListedImage(_placed(source, number, row[at], place), known=known)
        except csv.Error as error:
            # A quote that is never closed shows only at the end of the file: its row begins behind the last one.
            raise SourceError(f"Line {number + 1} of {source} can't be read as CSV ({error}).") from None
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{source} is no {error.encoding}, as its first bytes say, behind line {number}: save it as UTF-8."
            ) from None


def _column_of_csv(source: str, header: list[str], place: Callable[[str], str]) -> str:
    named = {name.strip().lower() for name in header} & set(_NAMES)
    found = None if named or len(header) < 2 else next((field for field in header if _is_path(field, place)), None)
    if found is not None:
        raise SourceError(
            f"The first line of {source} holds the path {found!r:.80}, so it has no header: put a line above it that "
            "names its columns, the one of the paths image_path."
        )
    return path_column(source, header)


def _is_path(field: str, place: Callable[[str], str]) -> bool:
    """Whether a field reads like the path of an image, and not like the name of a column."""
    if is_url(field) or split_member(field) or os.path.splitext(field)[1].lower() in IMAGE_SUFFIXES:
        return True
    try:
        return os.path.isfile(to_os_path(place(field)))
    except ValueError:
        return False


def _placed(source: str, number: int, field: str, place: Callable[[str], str]) -> str:
    """The resolved path of a field; SourceError when it can't be a path."""
    try:
        if "\0" not in field:
            return place(field)
    except UnicodeEncodeError:
        pass
    raise SourceError(f"Line {number} of {source} holds {field!r:.80}, which no path can be: give UTF-8 text.")


def rows_of_jsonl(source: str, left_out: Counter[str]) -> Iterator[ListedImage]:
    """The rows of a file with a JSON object in each line: one key holds the paths, the others are source metadata.

    Raises SourceError when a line is no object, or the first one names no path.
    """
    place = beside_source(source)
    column = None
    with opened(source) as file, text_of_list(file) as text:
        try:
            for number, line in enumerate(iter(partial(text.readline, _OBJECT_CHARACTERS), ""), 1):
                if not line.strip():
                    left_out["blank line"] += 1
                    continue
                known = values_of(line.strip()) if len(line) < _OBJECT_CHARACTERS else None
                if known is None:
                    raise SourceError(
                        f"Line {number} of {source} is no JSON object that names each key once, of at most "
                        f"{_OBJECT_CHARACTERS:,} characters: {line.strip()!r:.80}."
                    )
                column = path_column(source, list(known)) if column is None else column
                path = known.pop(column, None)
                if path is None or path == "":
                    left_out["row without a path"] += 1
                    continue
                if not isinstance(path, str):
                    raise SourceError(f"Line {number} of {source} has {path!r:.80} as {column!r}; expected a path.")
                yield ListedImage(_placed(source, number, path, place), known=known)
        except UnicodeDecodeError as error:
            raise SourceError(f"{source} is no {error.encoding}, as its first bytes say: save it as UTF-8.") from None


def _value(field: str) -> Any:
    """The value of a field of a CSV file: a number only if it is written as one; an empty field is unknown."""
    if not field:
        return None
    found = number_of(field)
    return _clean(field) if found is None else found


def _clean(field: str) -> str:
    return field.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def rows_of_parquet(source: str, left_out: Counter[str]) -> Iterator[ListedImage]:
    """The rows of a Parquet file with a column of paths; columns of plain values are kept, the others counted."""
    place = beside_source(source)
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
                    yield ListedImage(place(str(path)), known=row)
                else:
                    left_out["row without a path"] += 1


def path_column(source: str, columns: Sequence[str]) -> str:
    """The column that holds the paths: by its name, or the only one; SourceError when that is not clear."""
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


LISTS: Final[dict[str, Callable[[str, Counter[str]], Iterable[ListedImage]]]] = {
    ".txt": lines,
    ".csv": rows_of_csv,
    ".tsv": rows_of_csv,
    ".jsonl": rows_of_jsonl,
    ".parquet": rows_of_parquet,
}
"""The function that reads a list file, by its suffix."""
