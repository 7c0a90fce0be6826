"""The readers of lists, by the suffix of the file."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from coordinator.sources.listing import ListedImage
from coordinator.sources.lists.csv_rows import rows_of_csv
from coordinator.sources.lists.json_rows import rows_of_jsonl
from coordinator.sources.lists.lines import lines
from coordinator.sources.lists.parquet_rows import rows_of_parquet

LISTS: Final[dict[str, Callable[[str, Counter[str]], Iterable[ListedImage]]]] = {
    ".txt": lines,
    ".csv": rows_of_csv,
    ".tsv": rows_of_csv,
    ".jsonl": rows_of_jsonl,
    ".parquet": rows_of_parquet,
}
"""The function that reads a list file, by its suffix."""
