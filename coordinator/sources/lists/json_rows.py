"""Lists as JSON Lines, an object in each: its path, and what else it says."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Final

from coordinator.sources.listing import ListedImage
from coordinator.sources.lists.path_column import path_column
from coordinator.sources.lists.places import beside_source, placed
from coordinator.sources.lists.text import text_of_list
from coordinator.sources.metadata.json_values import values_of
from shared.errors import SourceError
from shared.images.location import opened

_OBJECT_CHARACTERS: Final = 1 << 20


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
                yield ListedImage(placed(source, number, path, place), known=known)
        except UnicodeDecodeError as error:
            raise SourceError(f"{source} is no {error.encoding}, as its first bytes say: save it as UTF-8.") from None
