"""Make tables in Markdown from the results of the benchmark of the HTTP API."""

from collections.abc import Mapping
from typing import Any

from benchmarks.support.tables import header_table, size, table

Results = Mapping[str, Any]
_KINDS = (("by_vector", "vector"), ("by_image", "image file"))


def all_tables(results: Results) -> dict[str, str]:
    """Every table by its name."""
    index = results["index"]
    searched = [
        ["made features", f"{results['size']:,} x {results['dim']:,}"],
        ["their index", f"`{index['factory']}`, recall@10 {index['recall_at_build']:.3f} at the build"],
        ["server's memory", f"{size(results['memory_at_start_bytes'])} at its start, "
                            f"{size(results['memory_at_end_bytes'])} at the end"],
    ]  # fmt: skip
    return {"http-run": header_table(results, searched), "http-searches": searches_table(results)}


def searches_table(results: Results) -> str:
    """Searches through the client and over HTTP by many clients, and thumbnails."""
    rows = []
    for kind, what in _KINDS:
        found = results[kind]
        if not found:
            continue
        rows.append([what, "`client.search`", "1", "", "", _pair(found["client"]["total_ms"])])
        rows += [[what, "HTTP", str(one["clients"]), *_rest(one)] for one in found["http"]]
    for state, found in (results["thumbnails"] or {}).items():
        rows.append([f"thumbnail, {state}", "HTTP", "8", *_rest(found)])
    return table(["request", "through", "clients", "lost", "a second", "p50 / p99 ms"], rows, right=2)


def _rest(found: Mapping[str, Any]) -> list[str]:
    lost = f"{found['lost']:,} of {found['requests']:,}"
    return [lost, f"{found['per_second']:,.0f}", _pair(found["total_ms"])]


def _pair(measured: Mapping[str, Any]) -> str:
    return f"{measured['p50']:.2f} / {measured['p99']:.2f}"
