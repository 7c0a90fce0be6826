"""Latencies of several runs in one figure."""

from benchmarks.support.timing import percentiles_of_runs


def test_one_bad_run_does_not_decide_a_latency() -> None:
    good, bad = [1.0, 2.0, 3.0], [100.0, 200.0, 300.0]
    made = percentiles_of_runs([good, bad, good])
    assert (made["p50"], made["p99"]) == (2.0, 2.98)
    assert [p50 for p50, _ in made["runs"]] == [2.0, 200.0, 2.0]
