"""The table of the page in a browser."""

from benchmarks.query.http.page import page_tables
from tests.support.benchmark_tables import HEADER, lines


def test_bytes_times_and_elements_stand_in_a_row_each() -> None:
    times = {"median": 120.4, "most": 199.6, "runs": [120.4, 199.6]}
    results = HEADER | {
        "browser": "156.0",
        "first_view": {
            "bytes": 83_000, "requests": 17, "window_ms": times | {"median": 180.0}, "anew_ms": times,
            "again_ms": times | {"median": 60.0},
        },
        "scrolling": {
            "groups": 10_000, "frames": 300, "rows_a_frame": 5, "median_ms": 16.7, "p99_ms": 33.4, "most_elements": 640,
        },
    }  # fmt: skip
    made = page_tables(results)
    assert "Chromium 156.0" in made["page-run"]
    assert [row[1] for row in lines(made["page"])] == [
        "83.0 kB in 17 requests",
        "180 ms (median of 2), 200 ms (most)",
        "120 ms (median of 2), 200 ms (most)",
        "60 ms (median of 2), 200 ms (most)",
        "16.7 ms (median), 33.4 ms (p99)",
        "640",
    ]
