import os
import platform
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kombu.asynchronous import Hub

from shared.errors import AnotherJob, JobError, JobNotFound, SettingsError
from shared.settings import PARENT_PIPE, Settings
from tests.support.make_job import make_job
from workers.tasks.runtime import LatestEvent, Runtime, Stopping, WakesAtSignals, follow_parent

TICK = 0.005
LONG = 60.0


class Sink:
    """Takes what is sent, and lets a test wait for it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._changed = threading.Condition()

    def __call__(self, text: str) -> None:
        with self._changed:
            self.texts.append(text)
            self._changed.notify_all()

    def wait_for(self, condition: Callable[[list[str]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.texts), LONG), self.texts


def test_whoever_waits_for_the_end_is_told_once_it_is_said() -> None:
    stopping, told = Stopping(), []
    assert not stopping.wait(TICK)
    waiting = [threading.Thread(target=lambda: told.append(stopping.wait(LONG))) for _ in range(3)]
    for thread in waiting:
        thread.start()
    stopping.set()
    for thread in waiting:
        thread.join(LONG)
    assert told == [True] * 3
    assert stopping.is_set()
    assert stopping.wait(0)


def test_a_signal_ends_the_wait_of_a_workers_loop() -> None:
    """Python goes on with a wait that a signal interrupts, and with a lost connection Celery makes a new loop."""
    came: list[int] = []
    before, hub = signal.signal(signal.SIGUSR1, lambda number, _: came.append(number)), Hub()  # type: ignore[no-untyped-call]
    step = WakesAtSignals(None)
    try:
        for _ in range(2):
            step.register_with_event_loop(None, hub)
            threading.Timer(TICK, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1)).start()
            assert hub.poller.poll(LONG)
            (read, arguments), *_ = [hub.readers[fd] for fd in hub.readers]
            assert read(*arguments) == bytes([signal.SIGUSR1])
            hub.reset()  # type: ignore[no-untyped-call]
        assert came == [signal.SIGUSR1] * 2
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
        hub.close()  # type: ignore[no-untyped-call]
        step.woken.close()
        step.waker.close()


def test_the_end_may_be_said_again_by_a_signal_that_comes_at_any_line_of_saying_it() -> None:
    stopping, came = Stopping(), []

    def signalled(*_: Any) -> Any:
        stopping.set()
        came.append(True)
        return signalled

    def say() -> None:
        sys.settrace(signalled)
        stopping.set()
        stopping.wait(0)
        sys.settrace(None)

    saying = threading.Thread(target=say, daemon=True)
    saying.start()
    saying.join(LONG)
    assert not saying.is_alive()
    assert len(came) > 5


def test_the_latest_text_is_sent_and_those_before_it_are_not() -> None:
    sink = Sink()
    events = LatestEvent(sink, TICK)
    for number in range(1_000):
        events.put(number)
    sink.wait_for(lambda texts: texts[-1:] == ["999"])
    events.close()
    assert len(sink.texts) < 100
    assert sink.texts == sorted(set(sink.texts), key=int)


class Ticks:
    """Stands for the event that ends the thread: what happens before each tick is played, then it is set."""

    def __init__(self, *played: Callable[[], None]) -> None:
        self._played = list(played)

    def wait(self, seconds: float) -> bool:
        if self._played:
            self._played.pop(0)()
            return False
        return True


def test_a_text_that_has_not_changed_is_sent_once() -> None:
    sink = Sink()
    events = LatestEvent(sink, LONG)
    events.close()

    def put(text: str) -> Callable[[], None]:
        return lambda: events.put(text)

    events._stop = Ticks(put("35%"), put("35%"), lambda: None, put("36%"), lambda: None)  # type: ignore[assignment]
    events._run()
    assert sink.texts == ["35%", "36%"]


def test_a_broker_that_is_away_costs_nothing_and_gets_the_latest_when_it_is_back() -> None:
    sink, away = Sink(), threading.Event()
    tried = threading.Event()
    away.set()

    def send(text: str) -> None:
        gone = away.is_set()
        tried.set()
        if gone:
            raise ConnectionError("gone")
        sink(text)

    events = LatestEvent(send, TICK)
    events.put("1%")
    assert tried.wait(LONG)
    events.put("2%")
    away.clear()
    sink.wait_for(lambda texts: texts[-1:] == ["2%"])
    events.close()


def test_a_slow_broker_does_not_slow_the_task() -> None:
    sending, release = threading.Event(), threading.Event()
    sent: list[str] = []

    def send(text: str) -> None:
        sending.set()
        assert release.wait(LONG)
        sent.append(text)

    events = LatestEvent(send, TICK)
    events.put("1%")
    assert sending.wait(LONG)
    for number in range(2, 1_000):  # Each put returns while the first is still being sent.
        events.put(f"{number}%")
    assert sent == []
    release.set()
    events.close()
    events._thread.join(LONG)  # A task waits no longer than half a second for it.
    assert sent[0] == "1%"


def test_after_the_end_nothing_is_sent() -> None:
    sink = Sink()
    events = LatestEvent(sink, TICK)
    events.put("99%")
    sink.wait_for(lambda texts: texts == ["99%"])
    events.close()
    events._thread.join(LONG)
    events.put("100%")
    assert not [thread for thread in threading.enumerate() if thread.name == "progress-events"]
    assert sink.texts == ["99%"]


def test_nothing_put_is_nothing_sent() -> None:
    sink = Sink()
    events = LatestEvent(sink, 0.0001)
    events.close()
    assert sink.texts == []


def test_a_worker_serves_the_jobs_under_its_own_root(tmp_path: Path) -> None:
    runtime = Runtime(Settings(jobs_root=tmp_path))
    assert runtime.job("clothes").path == tmp_path.resolve() / "clothes"
    with pytest.raises(JobError):
        runtime.job("../clothes")


def test_a_worker_whose_job_of_a_name_is_another_one_refuses_and_says_where_it_lies(tmp_path: Path) -> None:
    mine, other = (make_job(tmp_path / root / "pics", listed=2, sealed=[]) for root in ("b", "a"))
    runtime = Runtime(Settings(jobs_root=tmp_path / "b"))
    assert runtime.job("pics", mine.job.manifest.identity) == mine.job
    assert runtime.job("pics") == mine.job, "who knows only a name gets the one that is there"
    with pytest.raises(AnotherJob) as refused:
        runtime.job("pics", other.job.manifest.identity)
    assert str(mine.job.path) in str(refused.value)
    assert platform.node() in str(refused.value)
    assert "give each root a database number of its own" in str(refused.value)
    with pytest.raises(JobNotFound):
        runtime.job("none", other.job.manifest.identity)


def test_a_job_that_was_made_anew_is_another_one(tmp_path: Path) -> None:
    old = make_job(tmp_path / "pics", listed=2, sealed=[])
    runtime = Runtime(Settings(jobs_root=tmp_path))
    assert runtime.job("pics", old.job.manifest.identity) == old.job
    shutil.rmtree(old.job.path)
    new = make_job(tmp_path / "pics", listed=2, sealed=[])
    with pytest.raises(AnotherJob):
        runtime.job("pics", old.job.manifest.identity)
    assert runtime.job("pics", new.job.manifest.identity) == new.job


def test_a_worker_that_knows_no_root_says_how_to_give_one() -> None:
    with pytest.raises(SettingsError, match="the option jobs_root=DIR, or set LOOKALIKE_JOBS_ROOT"):
        Runtime(Settings()).job("clothes")


def test_one_decoding_thread_a_core_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert Runtime(Settings()).decode_threads == 7
    assert Runtime(Settings(decode_threads=3)).decode_threads == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert Runtime(Settings()).decode_threads == 1


def test_redis_is_connected_to_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []

    def connect(settings: Settings, wait: float) -> object:
        made.append(wait)
        return object()

    monkeypatch.setattr("workers.tasks.runtime.connect", connect)
    runtime = Runtime(Settings(broker_url="redis://host", lease_seconds=40, visibility_timeout=50))
    assert made == []
    assert runtime.client is runtime.client
    assert made == [2.0], "a broker that hangs is not waited for longer than that"


def test_a_worker_ends_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(os, "_exit", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr("workers.tasks.runtime.ORPHAN_GRACE_SECONDS", 0.0)
    reading, writing = os.pipe()
    monkeypatch.setenv(PARENT_PIPE, str(reading))
    follow_parent(os.environ)
    assert PARENT_PIPE not in os.environ  # Its own children must not follow the grandparent.
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "follow-parent")
    assert calls == []
    os.close(writing)  # As when the parent is killed.
    thread.join(LONG)
    os.close(reading)
    # First as SIGTERM does it, within a batch; then the hard way, as Celery may wait for a broker without end.
    assert calls == [(os.getpid(), signal.SIGTERM), (1,)]


def test_a_worker_without_a_parent_follows_nobody() -> None:
    follow_parent(os.environ)
    assert not [thread for thread in threading.enumerate() if thread.name == "follow-parent"]
