from benchmarks.growth import tables
from tests.support.benchmark_tables import HEADER

MS = {"p50": 0.254, "p99": 0.9, "runs": [[0.254, 0.9]]}
FOUND = {"recall_at_10": 0.9912, "warm_ms": MS}
SIZE = {
    "rows": 200_000, "dim": 1_792, "load": 0.1,
    "full": FOUND | {"wall_seconds": 20.0, "seconds": {}, "grown": False},
    "additions": [
        {"rows": count, "seconds_to_sealed": 0.1, "seconds_to_found": 0.25} for count in (1, 100, 10_000)
    ],
    "uncovered": FOUND | {"rows": 20_000},
    "grown": FOUND | {"added": 20_000, "wall_seconds": 1.5, "seconds": {}, "grown": True},
    "one_percent": FOUND | {"added": 2_000, "wall_seconds": 1.0, "seconds": {}, "grown": True},
    "removals": [FOUND | {"removed": count, "seconds_to_gone": 0.012} for count in (1, 2_000)],
    "compaction": FOUND | {
        "purged": 40_123, "partitions": 12, "bytes": 1_440_000_000, "seconds_to_compact": 9.5, "seconds_to_open": 0.31,
        "wall_seconds": 2.5, "seconds": {}, "grown": True,
    },
    "life": {"rounds": 10, "merge_seconds": [1.0, 3.0], "grown": FOUND, "fresh": FOUND | {"wall_seconds": 30.0}},
}  # fmt: skip
PEER = {
    "peer": "Other", "rows": 200_000,
    "full": FOUND | {"wall_seconds": 90.0}, "uncovered": FOUND, "grown": FOUND | {"wall_seconds": 4.5},
    "additions": [{"rows": count, "seconds_to_found": 0.5} for count in (1, 100, 10_000)],
    "removal": {"removed": 2_000, "seconds_to_gone": 0.4},
}  # fmt: skip
LISTING = {
    "files": 2_000_000, "peak_rss_bytes": 180_000_000,
    "unchanged": {"seconds": 20.0, "found": ""},
    "changed": {"changes": 1_000, "seconds": 21.0, "found": "500 new, 250 changed, 250 gone"},
}  # fmt: skip
RESULTS = HEADER | {
    "dim": 1_792, "wall_seconds": 60, "sizes": {"200000": SIZE, "300000": SIZE | {"rows": 300_000}},
    "listing": LISTING, "peers": [PEER],
}  # fmt: skip


def test_each_figure_is_in_its_row() -> None:
    made = tables.all_tables(RESULTS)
    assert "| 200,000    | 100 added: sealed, and found         |   0.250 |" in made["growth-changes"]
    assert "| 200,000    | 1 removed: gone from the answers     |   0.012 |" in made["growth-changes"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in made["growth-merges"].splitlines()]
    assert ["200,000", "the same, build grown", "1.5", "8%", "0.9912", "0.25"] in rows
    assert ["200,000", "20,000 more, in no build", "", "", "0.9912", "0.25"] in rows
    assert "1.0 to 3.0" in made["growth-life"]
    row, _ = [[cell.strip() for cell in line.split("|")[1:-1]] for line in made["growth-compaction"].splitlines()[2:]]
    assert row == ["200,000", "40,123", "12", "1.44", "9.5", "0.31", "2.5", "0.9912"]
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


def test_merges_of_one_percent_are_medians_beside_a_full_build() -> None:
    def merge(kind: str, seconds: float, measuring: float, queries: int = 100) -> dict[str, object]:
        parts = {"measuring": measuring}
        facts = {"wall_seconds": seconds, "seconds": parts, "recall_at_10": 0.987, "recall_queries": queries}
        return facts | {"kind": kind}

    kept = [merge("kept", seconds, seconds - 1) for seconds in (4.0, 5.0, 9.0)]
    full = merge("full", 80.0, 20.0, 500)
    made = tables.merging_tables(
        HEADER | {"rows": 2_000_000, "dim": 1_792, "merges": [full, *kept, merge("asked anew", 10.0, 8.0)]}
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in made["merging"].splitlines()][2:]
    assert rows == [
        ["built from scratch", "1", "80.0", "20.0", "100.0%", "0.9870 of 500"],
        ["1 % more, exact answers kept", "3", "5.0", "4.0", "6.2%", "0.9870 of 100"],
        ["1 % more, asked anew", "1", "10.0", "8.0", "12.5%", "0.9870 of 100"],
    ]
    assert "2,000,000" in made["merging-run"]


def test_other_stores_stand_beside_ours_of_their_size() -> None:
    lines = tables.all_tables(RESULTS)["growth-peers"].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert [row[:4] for row in rows] == [["lookalike", "20.0", "1.5", "0.250"], ["Other", "90.0", "4.5", "0.500"]]
    assert [row[-1] for row in rows] == ["0.012", "0.400"]
    assert rows[1][6] == "0.991, 0.3 ms"


def test_a_source_that_is_compared_has_its_seconds_and_memory() -> None:
    made = tables.all_tables(RESULTS)["growth-listing"]
    assert "| 2,000,000 | nothing                        |    20.0 |" in made
    assert "| 2,000,000 | 500 new, 250 changed, 250 gone |    21.0 |" in made
    assert "|     180 |" in made
    assert tables.all_tables(RESULTS | {"listing": None})["growth-listing"].count("\n") == 1
