"""Measure how long one query takes, from the bytes of its file to the answer."""

import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from benchmarks.truth.methods.method import Method
from benchmarks.truth.queries.collection import SEED, Query

_WARM_UP: Final = 3


def latencies(method: Method, queries: Sequence[Query], count: int) -> dict[str, Any]:
    """Milliseconds of `count` queries drawn from all, one after the other; also without their originals, where that
    takes another time."""
    drawn = np.random.default_rng(SEED).permutation(len(queries))[:count].tolist()
    found = {"asked": len(drawn), "present": _percentiles(method, [queries[place] for place in drawn], absent=False)}
    if method.asks_absent:
        found["absent"] = _percentiles(method, [queries[place] for place in drawn], absent=True)
    return found


def _percentiles(method: Method, queries: Sequence[Query], *, absent: bool) -> dict[str, float]:
    for query in queries[:_WARM_UP]:
        method.ask(query.data, query.original if absent else None)
    times = []
    for query in queries:
        began = time.perf_counter()
        method.ask(query.data, query.original if absent else None)
        times.append(1000 * (time.perf_counter() - began))
    p50, p90 = np.percentile(times, [50, 90]).tolist()
    return {"p50": round(p50, 2), "p90": round(p90, 2)}
