from benchmarks.growth import tables
from tests.support.benchmark_tables import HEADER

MS = {"p50": 0.254, "p99": 0.9, "runs": [[0.254, 0.9]]}
FOUND = {"recall_at_10": 0.9912, "warm_ms": MS}
SIZE = {
    "rows": 200_000, "dim": 1_792, "load": 0.1,
    "full": FOUND | {"wall_seconds": 20.0, "seconds": {}, "grown": False},
    "additions": [{"rows": 100, "seconds_to_sealed": 0.1, "seconds_to_found": 0.25}],
    "uncovered": FOUND | {"rows": 20_000},
    "grown": FOUND | {"added": 20_000, "wall_seconds": 1.5, "seconds": {}, "grown": True},
    "one_percent": FOUND | {"added": 2_000, "wall_seconds": 1.0, "seconds": {}, "grown": True},
    "removals": [FOUND | {"removed": 1, "seconds_to_gone": 0.012}],
    "compaction": FOUND | {
        "purged": 40_123, "partitions": 12, "bytes": 1_440_000_000, "seconds_to_compact": 9.5, "seconds_to_open": 0.31,
        "wall_seconds": 2.5, "seconds": {}, "grown": True,
    },
    "life": {"rounds": 10, "merge_seconds": [1.0, 3.0], "grown": FOUND, "fresh": FOUND | {"wall_seconds": 30.0}},
}  # fmt: skip
RESULTS = HEADER | {"dim": 1_792, "wall_seconds": 60, "sizes": {"200000": SIZE}}


def test_each_figure_is_in_its_row() -> None:
    made = tables.all_tables(RESULTS)
    assert "| 200,000    | 100 added: sealed, and found     |   0.250 |" in made["growth-changes"]
    assert "| 200,000    | 1 removed: gone from the answers |   0.012 |" in made["growth-changes"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in made["growth-merges"].splitlines()]
    assert ["200,000", "the same, build grown", "1.5", "8%", "0.9912", "0.25"] in rows
    assert ["200,000", "20,000 more, in no build", "", "", "0.9912", "0.25"] in rows
    assert "1.0 to 3.0" in made["growth-life"]
    (row,) = [[cell.strip() for cell in line.split("|")[1:-1]] for line in made["growth-compaction"].splitlines()[2:]]
    assert row == ["200,000", "40,123", "12", "1.44", "9.5", "0.31", "2.5", "0.9912"]
    assert "growth-run" in made
