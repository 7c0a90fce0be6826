"""The program that measures what tells copies apart: it says what it measured, of a few photographs too."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.truth.copies import run, tables
from shared.errors import UsageError
from tests.support.benchmark_tables import HEADER, MS, lines
from tests.support.featured import photos

RESULTS: dict[str, Any] = HEADER | {
    "images": 9,
    "embedded": 9,
    "model": "a model",
    "cpu_ms": {"off": 10.0, "on": 25.0},
    "cpu_ratio": 2.5,
    "wall_ms": {"off": 5.0, "on": 12.5},
    "stored_bytes": 4_321,
    "parts_ms": {"PDQ": 1.5, "local features": 9.25},
    "look_up": {
        "hashes": 2_000_000,
        "bits": 31,
        "build_seconds": 3.21,
        "bytes": 210_000_000,
        "queries": 5,
        "ms": MS,
        "cpu_ms": MS,
    },
}


def test_the_table_says_what_was_measured() -> None:
    made = dict(line[:2] for line in lines(tables.all_tables(RESULTS)["copies"]))
    assert made["CPU of embedding an image, copies on"] == "25.00 ms, 2.50 times as much"
    assert made["stored"] == "4,321 bytes an image"
    assert made["look-up of a PDQ"] == "p50 1.25 ms, p99 2.50 ms within 31 bits among 2,000,000"
    assert made["its tables"] == "210 MB, built in 3.2 s"


def test_a_look_up_finds_the_hashes_that_queries_were_made_of(tmp_path: Path) -> None:
    found = run.look_up(photos(tmp_path, 12), 3_000)
    assert found["found"] > found["queries"] * 0.9
    assert found["hashes"] == 3_000


def test_a_folder_with_too_few_photographs_is_refused(tmp_path: Path) -> None:
    photos(tmp_path, 4)
    with pytest.raises(UsageError, match="2 JPEGs, and 3 are asked for"):
        run.measure(tmp_path, 3, 10)
