"""Measured processes: what is read of them from /proc."""

import os
from pathlib import Path

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


def test_a_child_that_ends_while_it_is_looked_at_is_none(tmp_path: Path) -> None:
    stat = f"(python) R 1 {' '.join(['0'] * 40)}"
    for pid, arguments in ((7, worker_command(["embed"], "x")), (8, None), (9, worker_command(["query"], "x"))):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} {stat}\n")
        if arguments is not None:
            (tmp_path / str(pid) / "cmdline").write_text("\0".join(arguments))
    (tmp_path / "10").mkdir()
    (tmp_path / "meminfo").touch()
    assert sorted(processes.children_of(1, proc=tmp_path)) == [7, 8, 9], "its command line is not asked for"
    assert processes.children_of(1, "embed", proc=tmp_path) == [7]
    assert processes.children_of(2, proc=tmp_path) == []
