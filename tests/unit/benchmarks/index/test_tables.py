"""Tables of the index benchmark: they say what was measured, with its recall and its size."""

import copy
from typing import Any

import pytest

from benchmarks.index import tables
from tests.support.benchmark_tables import ACCURACY, HEADER, MS, lines


def build(family: str, recall: float) -> dict[str, Any]:
    return {
        "family": family,
        "recall_wanted": recall,
        "factory": "PCAR8,IVF4,PQ4x4fs",
        "nprobe": 16,
        "rerank_depth": 150,
        "seconds": {"checking": 1.0, "training": 4.0, "adding": 6.0, "measuring": 3.0},
        "peak_rss_bytes": 1_500_000_000,
        "index_bytes": 99_000_000,
        "search": {
            "recall_at_10": 0.991,
            "accuracy_at_10": ACCURACY,
            "warm_ms": MS,
            "cold_p50_ms": 8.5,
            "queries_per_second_at_64": 3_210,
            "own_memory_bytes": 400_000_000,
        },
    }


def size_of(rows: int, crowded: bool = False) -> dict[str, Any]:
    judged = {"recall_at_10": 0.257, "accuracy_at_10": ACCURACY}
    return {
        "rows": rows,
        "crowded": crowded,
        "builds": [build("ivf-pq", 0.99), build("rabitq", 0.997)],
        "truth": {"recall_at_10": 1.0, "accuracy_at_10": ACCURACY, "queries": 800, "seconds": 40.0},
        "exact": {"queries": 3, "p50_ms": 1_234.0},
        "article": {
            "factory": "IVF100,PQ8x8np",
            "seconds": {"training": 20.0, "adding": 57.5},
            "index_bytes": 35_000_000,
            "searched": [{"nprobe": 1, "rerank_depth": 0, "warm_ms": MS} | judged],
        },
    }


@pytest.fixture
def index_results() -> dict[str, Any]:
    small = size_of(200_000)
    searched = {"setting": "ef 400", "recall_at_10": 0.98, "accuracy_at_10": ACCURACY, "warm_ms": MS | {"p50": 5.0}}
    small["peers"] = [
        {
            "peer": "hnswlib",
            "version": "0.8",
            "build_seconds": 25.0,
            "memory_bytes": 1_050_000_000,
            "disk_bytes": 0,
            "searched": [searched],
        },
        {"peer": "annoy", "failed": "It did not end within 420 s."},
    ]
    recall = {"factory": "IVF100,PQ8x8np", "nprobe": 1, "rerank_depth": 0, "real": 0.257, "made": 0.251}
    check = {
        "rows": 1_000,
        "dim": 8,
        "within": 0.01,
        "facts": {"zeros": {"real": [0.463], "made": [0.457]}},
        "recall": [recall, recall | {"made": 0.2}],
        "recall_by_rows": [recall | {"rows": 500}],
    }
    # Written in the order of text, which is not that of numbers.
    sizes = {"1000000": size_of(1_000_000), "50000 crowded": size_of(50_000, True), "200000": small}
    sizes["50000"] = size_of(50_000)
    del sizes["50000 crowded"]["article"]
    return copy.deepcopy(HEADER | {"dim": 8, "features": {"check": check}, "sizes": sizes})


def test_sizes_come_in_the_order_of_their_numbers(index_results: dict[str, Any]) -> None:
    made = tables.all_tables(index_results)
    first = [row[0] for row in lines(made["index-builds"])]
    assert first == [*["50,000"] * 2, *["200,000"] * 2, *["1,000,000"] * 2, *["50,000, crowded"] * 2]
    assert [row[0] for row in lines(made["index-article"])] == ["50,000", "200,000", "1,000,000"]


def test_a_build_says_what_training_and_adding_took_together(index_results: dict[str, Any]) -> None:
    row = lines(tables.all_tables(index_results)["index-builds"])[0]
    assert row[1:] == [
        *("ivf-pq, 0.99", "`PCAR8,IVF4,PQ4x4fs`"),
        *("1.0", "4.0", "6.0", "3.0", "10.0", "1.50 GB", "99.0 MB"),
    ]


def test_a_search_never_stands_without_its_recall(index_results: dict[str, Any]) -> None:
    rows = lines(tables.all_tables(index_results)["index-searches"])
    assert rows[0][2:] == ["16 / 150", "0.991", *["0.90"] * 4, "1.25 / 2.50", "8.5", "3,210", "400.0 MB"]
    assert rows[2][1:4] == ["exact", "all", "1.000"]
    assert rows[2][-4:-1] == ["1,234", "", "20 at 800"]


def test_the_check_says_which_recall_is_near_enough(index_results: dict[str, Any]) -> None:
    rows = lines(tables.check_table(index_results["features"]["check"]))
    assert [row[-2:] for row in rows] == [["-0.006", "yes"], ["-0.057", "no"], ["-0.006", "yes"]]
    assert [row[0] for row in rows] == ["1,000", "1,000", "500"]


def test_peers_stand_beside_ours_with_ratios_and_their_failures(index_results: dict[str, Any]) -> None:
    ours, _, peer, failed = lines(tables.all_tables(index_results)["index-peers"])
    assert (ours[1], ours[9], ours[11]) == ("lookalike, ivf-pq, 0.99", "1.0", "1.0")
    assert peer[1:4] == ["hnswlib 0.8", "ef 400", "0.980"]
    assert peer[8:] == ["5.00 / 2.50", "4.0", "25.0", "2.5", "1.05 GB", "none"]
    assert failed[1:4] == ["annoy", "It did not end within 420 s.", ""]


def test_a_target_is_met_by_the_figure_and_not_by_what_it_is_rounded_to(index_results: dict[str, Any]) -> None:
    assert lines(tables.all_tables(index_results)["index-targets"]) == [], "there are none below two million"
    largest = index_results["sizes"]["2000000"] = size_of(2_000_000)
    largest["builds"][0]["search"] |= {"recall_at_10": 0.98999, "queries_per_second_at_64": 2_999.9}
    rows = lines(tables.all_tables(index_results)["index-targets"])
    assert {row[1] for row in rows} == {"2,000,000", "2,000,000; an exact search finds 0.90"}
    assert [row[2:] for row in rows] == [
        ["0.9900", "missed"],
        ["1.25 ms", "missed"],
        ["2.50 ms", "missed"],
        ["8.50 ms", "met"],
        ["3,000", "missed"],
        ["10.00 s", "met"],
        ["1.50 GB", "met"],
        ["99,000,000 bytes", "met"],
        ["400.0 MB", "met"],
        ["0.90", "missed"],
        ["0.90", "missed"],
    ]
