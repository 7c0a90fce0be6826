"""The path column: which column of a list holds the paths of its images."""

from collections.abc import Mapping, Sequence
from typing import Final

from shared.errors import SourceError

# The names that people give the column of paths; the first that is there counts.
PATH_NAMES: Final = (
    "image_path", "path", "file_path", "filepath", "file", "filename", "file_name", "image", "img", "image_url", "url",
)  # fmt: skip


def path_column(source: str, columns: Sequence[str]) -> str:
    """The column that holds the paths: by its name, or the only one; SourceError when that is not clear."""
    by_name: Mapping[str, str] = {name.strip().lower(): name for name in reversed(columns)}
    found = next((by_name[name] for name in PATH_NAMES if name in by_name), None)
    if found is None and len(columns) == 1 and columns[0]:
        found = columns[0]
    if found is None:
        raise SourceError(
            f"{source} has no column of image paths; its columns are {', '.join(columns) or 'none'}: name the one that "
            "is meant image_path."
        )
    return found
