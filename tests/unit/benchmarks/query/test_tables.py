"""Tables of the query benchmark."""

import copy
from typing import Any

import pytest

from benchmarks.query import tables
from tests.support.benchmark_tables import HEADER, MS, lines


@pytest.fixture
def query_results() -> dict[str, Any]:
    single = {part: MS | {"p50": at} for at, part in enumerate(("total_ms", "send_ms", "worker_ms", "way_ms"), 1)}
    way = {"window": 8, "group": 64, "queries_per_second": 1_234.5, "task_ms": MS}
    found = {"threads": 2, "single": single, "in_flight": [way], "worker_memory_bytes": 300_000_000}
    index = {"factory": "PCAR8,IVF4,PQ4x4fs", "nprobe": 16, "rerank_depth": 150, "recall_at_build": 0.991}
    measured = {"ping_ms": MS, "empty_task_ms": MS, "by_vector": [found], "by_image": []}
    return copy.deepcopy(HEADER | {"size": 200_000, "dim": 8, "index": index} | measured)


def test_a_query_says_where_its_milliseconds_went(query_results: dict[str, Any]) -> None:
    made = tables.all_tables(query_results)
    assert lines(made["query-parts"])[-1] == ["vector", "2", "1.00 / 2.50", "2.00", "3.00", "4.00", "300.0 MB"]
    assert lines(made["query-flight"]) == [["vector", "2", "8 x 64", "1,234", "1.25 / 2.50"]]
