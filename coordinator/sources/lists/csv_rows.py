"""Lists as CSV files, whatever separates their columns: the path of each row, and what else it says."""

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from coordinator.sources.choosing import IMAGE_SUFFIXES
from coordinator.sources.listing import ListedImage
from coordinator.sources.lists.path_column import PATH_NAMES, path_column
from coordinator.sources.lists.places import beside_source, placed
from coordinator.sources.lists.text import LINE_BYTES, separator, text_of_list
from coordinator.sources.metadata.numbers import as_number
from coordinator.sources.metadata.plain_values import require_distinct
from shared.errors import SourceError
from shared.images.location import opened
from shared.images.paths import is_url, split_member, to_os_path


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
            between = separator(source, first, frozenset(PATH_NAMES))
            reader = csv.reader(chain([first] if first else [], text), delimiter=between, strict=True)
            header = next(reader, [])
            number = reader.line_num
            bare = len(header) == 1 and _is_path(header[0], place)  # There is one column of paths, and no header.
            if bare:
                yield ListedImage(placed(source, number, header[0], place))
            header = [_clean(name) for name in header]
            require_distinct(source, header)
            at = header.index(_column_of_csv(source, header, place))
            only = len(header) == 1 and not bare and header[0].strip().lower() not in PATH_NAMES
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
                yield ListedImage(placed(source, number, row[at], place), known=known)
        except csv.Error as error:
            # A quote that is never closed shows only at the end of the file: its row begins behind the last one.
            raise SourceError(f"Line {number + 1} of {source} can't be read as CSV ({error}).") from None
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{source} is no {error.encoding}, as its first bytes say, behind line {number}: save it as UTF-8."
            ) from None


def _column_of_csv(source: str, header: list[str], place: Callable[[str], str]) -> str:
    named = {name.strip().lower() for name in header} & set(PATH_NAMES)
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


def _value(field: str) -> Any:
    """The value of a field of a CSV file: a number only if it is written as one; an empty field is unknown."""
    if not field:
        return None
    found = as_number(field)
    return _clean(field) if found is None else found


def _clean(field: str) -> str:
    return field.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
