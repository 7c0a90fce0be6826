"""Make tables in Markdown from the results of a query benchmark, for the terminal and for docs/benchmarks.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, size, table

Results = Mapping[str, Any]
_KINDS = (("by_vector", "vector"), ("by_image", "image file"))


def all_tables(results: Results) -> dict[str, str]:
    """Every table by its name, in the order in which a person reads them."""
    index = results["index"]
    searched = [
        ["made features", f"{results['size']:,} x {results['dim']:,}"],
        ["their index", f"`{index['factory']}`, nprobe {index['nprobe']}, {index['rerank_depth']} compared exactly"],
        ["its recall@10 at the build", f"{index['recall_at_build']:.3f}"],
    ]
    return {
        "query-run": header_table(results, searched),
        "query-parts": parts_table(results),
        "query-flight": flight_table(results),
    }


def parts_table(results: Results) -> str:
    """One query at a time, and where its milliseconds go, beside what no query can be faster than."""
    rows = [
        ["PING to the broker and back", "", _pair(results["ping_ms"]), "", "", "", ""],
        ["empty Celery task", "1", _pair(results["empty_task_ms"]), "", "", "", ""],
    ]
    rows += [
        [
            what,
            str(found["threads"]),
            _pair(found["single"]["total_ms"]),
            *(f"{found['single'][part]['p50']:.2f}" for part in ("send_ms", "worker_ms", "way_ms")),
            size(found["worker_memory_bytes"]),
        ]
        for kind, what in _KINDS
        for found in results[kind]
    ]
    parts = ["send p50", "in the worker p50", "the rest p50"]
    return table(["query", "worker threads", "p50 / p99 ms", *parts, "worker memory"], rows, right=1)


def flight_table(results: Results) -> str:
    """Many queries under way at once: queries a second, and how long each task takes."""
    rows = [
        [
            what,
            str(found["threads"]),
            f"{way['window']} x {way['group']}",
            f"{way['queries_per_second']:,.0f}",
            _pair(way["task_ms"]),
        ]
        for kind, what in _KINDS
        for found in results[kind]
        for way in found["in_flight"]
    ]
    return table(
        ["query", "worker threads", "tasks x queries under way", "queries/s", "task p50 / p99 ms"], rows, right=1
    )


def _pair(measured: Mapping[str, Any]) -> str:
    return f"{measured['p50']:.2f} / {measured['p99']:.2f}"
