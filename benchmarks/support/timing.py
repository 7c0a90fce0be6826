"""Combine the latencies of several runs into one figure, which one bad moment of the machine does not decide."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np


def percentiles_of_runs(runs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The median over runs of each run's p50 and p99, with those of each run; milliseconds."""
    each = [np.percentile(np.asarray(run), [50, 99]).tolist() for run in runs]
    return {
        "p50": round(statistics.median(p50 for p50, _ in each), 3),
        "p99": round(statistics.median(p99 for _, p99 in each), 3),
        "runs": [[round(p50, 3), round(p99, 3)] for p50, p99 in each],
    }
