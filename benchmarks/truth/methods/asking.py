"""Measure how long one query takes, from the bytes of its file to the answer."""

import time
import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from benchmarks.truth.methods.method import Method
from benchmarks.truth.queries.collection import SEED, Query

_WARM_UP: Final = 3


def latencies(method: Method, queries: Sequence[Query], count: int) -> dict[str, Any]:
    """Milliseconds of `count` queries drawn from all, one after the other; also without their originals, where that
    takes another time.

    Other queries are drawn for each method, and none of them warms it up: what a worker remembers of a query that it
    was asked before is not to be measured.
    """
    drawn = np.random.default_rng([SEED, zlib.crc32(method.name.encode())]).permutation(len(queries)).tolist()
    timed, warming = [queries[place] for place in drawn[:count]], [queries[place] for place in drawn[count:][:_WARM_UP]]
    found = {"asked": len(timed), "present": _percentiles(method, timed, warming, absent=False)}
    if method.asks_absent:
        found["absent"] = _percentiles(method, timed, warming, absent=True)
    return found


def _percentiles(
    method: Method, queries: Sequence[Query], warming: Sequence[Query], *, absent: bool
) -> dict[str, float]:
    for query in warming:
        method.ask(query.data, query.original if absent else None)
    times = []
    for query in queries:
        began = time.perf_counter()
        method.ask(query.data, query.original if absent else None)
        times.append(1000 * (time.perf_counter() - began))
    p50, p90 = np.percentile(times, [50, 90]).tolist()
    return {"p50": round(p50, 2), "p90": round(p90, 2)}
