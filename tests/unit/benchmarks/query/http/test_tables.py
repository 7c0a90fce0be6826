"""Tables of the benchmark of the HTTP API."""

from benchmarks.query.http import tables
from tests.support.benchmark_tables import HEADER, MS, lines


def test_what_http_adds_stands_beside_the_client() -> None:
    http = {"clients": 64, "requests": 1_200, "lost": 3, "per_second": 250.4, "total_ms": MS, "load": 2.0}
    searched = {"client": {"total_ms": MS}, "http": [http]}
    results = HEADER | {
        "size": 20_000, "dim": 8, "index": {"factory": "IDMap2,Flat", "recall_at_build": 1.0}, "by_vector": searched,
        "by_image": None, "thumbnails": {"cold": http, "cached": http | {"lost": 0}},
        "memory_at_start_bytes": 60_000_000, "memory_at_end_bytes": 110_000_000,
    }  # fmt: skip
    made = tables.all_tables(results)
    assert "60.0 MB at its start, 110.0 MB at the end" in made["http-run"]
    rows = lines(made["http-searches"])
    assert rows[0] == ["vector", "`client.search`", "1", "", "", "1.25 / 2.50"]
    assert rows[1] == ["vector", "HTTP", "64", "3 of 1,200", "250", "1.25 / 2.50"]
    assert [row[0] for row in rows[2:]] == ["thumbnail, cold", "thumbnail, cached"]
