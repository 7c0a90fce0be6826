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
    assert "growth-run" in made


def test_a_build_of_one_file_has_no_parts_and_one_of_shards_has() -> None:
    one = FOUND | {"shards": 1, "side_by_side": 1, "wall_seconds": 31.5, "seconds": {}, "index_bytes": [15_700_000]}
    parts = {"trained": 14.0, "filled": 6.25, "measured": 9.0}
    two = FOUND | {"shards": 2, "side_by_side": 2, "wall_seconds": 29.3, "seconds": parts}
    made = tables.shards_tables(
        HEADER | {"rows": 200_000, "dim": 256, "builds": [one, two | {"index_bytes": [8, 8_500_000]}]}
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in made["shards-builds"].splitlines()]
    assert ["1", "1", "", "", "", "31.5", "15.7", "0.9912", "0.25"] in rows
    assert ["2", "2", "14.0", "6.2", "9.0", "29.3", "8.5", "0.9912", "0.25"] in rows
    assert "200,000" in made["shards-run"]
