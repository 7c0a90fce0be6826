"""The program that counts what is found of several copies: what it draws, when comparing ends, its tables."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from benchmarks.truth.queries.collection import Query
from benchmarks.truth.several import tables
from benchmarks.truth.several.ends import (
    ALONE,
    AS_GIVEN,
    AUTO,
    BY_PROVEN,
    COLLAGES,
    COPIES,
    ENDS,
    Candidates,
    compared,
    figures,
)
from benchmarks.truth.several.run import divided, near_enough
from tests.support.benchmark_tables import HEADER, lines

# Places 0 and 25 are one picture; all others are like nothing.
VECTORS = np.eye(40, dtype=np.float32)
VECTORS[25] = VECTORS[0]
SEVERAL = Candidates(range(30), frozenset({0, 25}))
ALONE_ONE = Candidates(range(24), frozenset({0}))
ABSENT = Candidates(range(1, 24), frozenset())


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_copy_that_is_far_by_the_query_is_found_by_what_is_proven(threads: ThreadPoolExecutor) -> None:
    assert compared(SEVERAL, 3, threads, None) == (4, 1)
    assert compared(SEVERAL, 3, threads, VECTORS) == (6, 2)
    assert compared(SEVERAL, 25, threads, None) == (30, 2)
    assert compared(ABSENT, 3, threads, VECTORS) == (23, 0)


ASKED = {COPIES: [SEVERAL, ABSENT], AUTO: [SEVERAL], COLLAGES: [ABSENT], ALONE: [ALONE_ONE]}


def test_each_end_has_a_row_of_what_is_found_and_compared(threads: ThreadPoolExecutor) -> None:
    rows = figures(ASKED, VECTORS, threads)
    assert [(row["order"], row["after"]) for row in rows] == [
        (order, after) for order in (AS_GIVEN, BY_PROVEN) for after in ENDS
    ]
    assert rows[0]["found"] == {COPIES: 0.5, AUTO: 0.5, COLLAGES: 0.0, ALONE: 1.0}
    assert rows[0]["compared"] == {COPIES: 4.0, AUTO: 4.0, COLLAGES: 0.0, ALONE: 4.0}, (
        "by queries of which something is proven"
    )
    assert rows[len(ENDS)]["found"][COPIES] == 1.0
    assert rows[len(ENDS)]["compared"][COPIES] == 6.0


def test_copies_and_queries_of_an_original_are_different_ones_and_the_same_each_time() -> None:
    queries = [Query(original, f"{kind}", b"") for original in (4, 9) for kind in range(10)]
    copies, asked = divided(queries, 3, 5)
    assert divided(queries, 3, 5) == (copies, asked)
    for original in (4, 9):
        ours = [{query.kind for query in some if query.original == original} for some in (copies, asked)]
        assert [len(kinds) for kinds in ours] == [3, 5]
        assert not ours[0] & ours[1]


def test_auto_compares_what_stands_out() -> None:
    score = np.full((2, 30), 0.5, np.float32)
    score[0, [7, 3]] = 0.9, 0.7
    assert near_enough(score) == [[7, 3], []]


def test_the_tables_have_a_row_for_each_end(threads: ThreadPoolExecutor) -> None:
    results: dict[str, Any] = HEADER | {
        "photographs": "some", "searched": 3_716, "copies": 360, "originals": 60, "candidates": 100, "model": "a@1",
        "queries": {COPIES: 480, AUTO: 480, COLLAGES: 60, ALONE: 480},
        "provable": {COPIES: 2_500, AUTO: 900, COLLAGES: 230, ALONE: 460},
        "ends": figures(ASKED, VECTORS, threads),
    }  # fmt: skip
    made = tables.all_tables(results)
    assert lines(made["several"])[0] == [AS_GIVEN, "3", "0.500", "4.0", "0.500", "4.0", "0.000", "0.0", "4.0"]
    assert len(lines(made["several"])) == 2 * len(ENDS)
    told = ["collages of four", "60, of whose candidates 230 are proven"]
    assert told in lines(made["several-header"])
