"""Numbered files of what a person said about duplicates: one for each time, written once, and none of them missing."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from shared.errors import CorruptFile, JobBusy
from shared.job.directory import JobDir
from shared.storage import files

T = TypeVar("T")


def read_numbered(
    numbers: Sequence[int],
    path_of: Callable[[int], Path],
    version: int,
    what: str,
    parse: Callable[[dict[str, Any]], T],
) -> Iterator[T]:
    """What `parse` makes of each file, in order. `numbers` are of those that lie there, `what` is what they hold.

    Raises CorruptFile for a file that is missing before the last one, has another format, or that `parse` raises
    ValueError, KeyError or TypeError for.
    """
    for number in range(1, max(numbers, default=0) + 1):
        path = path_of(number)
        try:
            table = json.loads(files.read_marker(path))
            if table["format"] != version:
                raise ValueError(f"it has format {table['format']}")
            parsed = parse(table)
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise CorruptFile(
                f"{path} does not hold {what} ({error!r}): restore it from a copy, or remove it to have what it says "
                "asked again."
                if number in numbers
                else f"{path} is missing, and a later one is there: restore it from a copy."
            ) from None
        yield parsed


def next_path(numbers: Sequence[int], path_of: Callable[[int], Path]) -> Path:
    """Where the next file goes."""
    return path_of(max(numbers, default=0) + 1)


def write_once(job: JobDir, path: Path, table: Mapping[str, Any], what: str) -> None:
    """Write a table to a new file. Raises JobBusy where another process wrote that one meanwhile."""
    data = (json.dumps(table, indent=2) + "\n").encode()
    files.write_bytes(path, data, keep_first=True)
    if files.read_marker(path) != data:
        raise JobBusy(
            f"Another process wrote {what} of {job.path} at the same time: nothing of this call was done. Do it again."
        )
