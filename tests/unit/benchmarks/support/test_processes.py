"""Measured processes: what is read of them from /proc."""

import os

from benchmarks.support import processes
from coordinator.local.workers import worker_command


def test_the_stat_of_a_process_with_a_strange_name_is_read() -> None:
    numbers = " ".join(str(number) for number in range(100, 140))
    assert processes.fields_of(f"42 (a) S 9 (b)) R 7 {numbers}\n") == ("R", 7, 109 + 110)


def test_the_role_of_a_worker_is_the_queue_it_consumes() -> None:
    assert processes.role_of(worker_command(["embed"], "x")) == "embed"
    assert processes.role_of(["valkey-server", "broker.conf", "--queues"]) == "other"


def test_a_process_is_seen_with_what_it_holds_for_itself() -> None:
    usage = processes._usage(os.getpid())
    assert usage is not None
    assert usage.peak_rss_bytes > usage.peak_own_bytes > 10_000_000
