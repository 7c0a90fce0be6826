"""Tables in Markdown, and sizes as people say them."""

import pytest

from benchmarks.support import tables


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (1_000, "1.0 kB"), (2_500_000, "2.5 MB"), (25_280_000_000, "25.28 GB")]
)
def test_sizes_are_said_in_the_unit_that_fits(count: int, text: str) -> None:
    assert tables.size(count) == text


def test_a_table_is_markdown_with_its_columns_aligned() -> None:
    made = tables.table(["what", "n"], [["a longer name", "7"], ["b", "12,345"]], right=1)
    assert made.splitlines() == [
        "| what          |      n |",
        "|---------------|-------:|",
        "| a longer name |      7 |",
        "| b             | 12,345 |",
    ]
