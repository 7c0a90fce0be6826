import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.job.index.shards import (
    Range,
    even_ranges,
    filling_file,
    grown_ranges,
    require_ranges,
    shard_file,
    shards_in,
)


@given(rows=st.integers(1, 10_000), shards=st.integers(1, 50))
def test_even_ranges_hold_all_rows_in_order_and_differ_by_one_at_most(rows: int, shards: int) -> None:
    ranges = even_ranges(max(rows, shards), shards)
    require_ranges(ranges, max(rows, shards))
    assert len(ranges) == shards
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


@given(rows=st.integers(1, 500), shards=st.integers(1, 9), added=st.lists(st.integers(1, 300), max_size=5))
def test_growing_fills_the_last_shard_and_changes_no_other(rows: int, shards: int, added: list[int]) -> None:
    ranges = even_ranges(max(rows, shards), shards)
    full = max(map(len, ranges))
    for more in added:
        before, total = ranges, ranges[-1].stop + more
        ranges = grown_ranges(before, total, full)
        require_ranges(ranges, total)
        assert ranges[: len(before) - 1] == before[:-1]
        assert ranges[len(before) - 1].start == before[-1].start
        assert all(len(rows) == full for rows in ranges[len(before) - 1 : -1])
        assert len(ranges[-1]) <= full


NOT_ALL = [[], [[0, 5]], [[0, 5], [6, 9]], [[1, 9]], [[0, 5], [5, 5], [5, 9]], [[0, 9], [9, 5]]]


@pytest.mark.parametrize("shards", NOT_ALL)
def test_ranges_that_are_not_all_rows_in_order_are_refused(shards: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="are not the 9 rows"):
        require_ranges(shards, 9)


def test_shards_are_known_by_their_files_full_or_not() -> None:
    names = [shard_file(0), shard_file(12), filling_file(12), filling_file(3), "index.faiss", "CURRENT"]
    assert shards_in(names) == [0, 3, 12]
    assert Range(3, 7)[:] == (3, 7)
    assert len(Range(3, 7)) == 4
