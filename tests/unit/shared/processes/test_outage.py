import logging
import threading
import time

import pytest

from shared.processes.outage import Outage

LOG = logging.getLogger("lookalike.test")


def test_an_outage_is_one_line_at_its_begin_and_one_at_its_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    outage = Outage(LOG, "clothes: no answer", "working on")
    outage.over()
    assert not outage.lasts
    for _ in range(100):
        outage.began("refused")
    assert outage.lasts
    now[0] += 61
    outage.over()
    outage.over()
    assert caplog.messages == [
        "clothes: no answer (refused); working on.",
        "clothes: no answer for 61 s; that is over.",
    ]
    outage.began("again")
    assert len(caplog.messages) == 3


def test_threads_that_find_it_at_once_say_it_once(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(LOG, "x")
    start = threading.Barrier(8)

    def find() -> None:
        start.wait()
        outage.began("y")

    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caplog.messages) == 1
