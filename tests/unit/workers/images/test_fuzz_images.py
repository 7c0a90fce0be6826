"""Damaged files of every format: a status or pixels, never another error, the end of a process, or much memory."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.fuzz.files import FORMATS, mutated, seeds
from benchmarks.fuzz.run import Said, fuzz

STATUSES = {"ok", "empty", "not-an-image", "oversized", "truncated", "undecodable"}
FILES = 300
MOST_BYTES = 64 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak memory")
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_are_rows_and_end_no_process_and_take_little_memory(kind: str) -> None:
    found = fuzz(kind, FILES)
    assert found["raised"] == []
    assert found["ended"] == []
    assert sum(found["statuses"].values()) == FILES
    assert set(found["statuses"]) <= STATUSES
    assert {"ok", "truncated", "undecodable"} <= set(found["statuses"])  # The damages reach the decoders.
    assert found["most_bytes"] < MOST_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak memory")
def test_a_file_that_ends_its_process_or_raises_is_counted_and_the_next_are_decoded() -> None:
    said: Iterator[Said] = iter(
        [
            ([{"begun": 0}, {"status": "ok", "seconds": 0.5, "grown": 7}, {"begun": 1}], "signal SIGSEGV"),
            ([{"begun": 2}, {"status": "raised KeyError: 'a'", "seconds": 0.1, "grown": 3}], None),
        ]
    )
    asked: list[tuple[str, int, int]] = []

    def process(*place: Any) -> Said:
        asked.append(place)
        return next(said)

    assert fuzz("GIF", 3, process) == {
        "files": 3,
        "statuses": {"ok": 1, "raised": 1},
        "raised": ["raised KeyError: 'a'"],
        "ended": [{"number": 1, "how": "signal SIGSEGV"}],
        "most_bytes": 7,
        "slowest": 0.5,
    }
    assert asked == [("GIF", 0, 3), ("GIF", 2, 3)]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_damages_come_again_and_no_two_are_one(kind: str) -> None:
    files = seeds(kind)
    made = [mutated(files, number, kind) for number in range(50)]
    assert made == [mutated(files, number, kind) for number in range(50)]
    assert len(set(made)) > 40
