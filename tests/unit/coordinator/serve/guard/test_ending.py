"""A server that is told to end: it waits so long, tells who waits longer, and is kept by nobody."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from coordinator.serve.guard.ending import Ending, EndingServer, Signals
from coordinator.serve.server import configured
from shared.messages.search import Answer
from tests.support.http_api import Running, found, serving
from tests.support.make_job import make_job

_SEARCH = "/v1/jobs/photos/search"


@contextmanager
def listening(running: Running, app: Any = None) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a real server, and what tells it to end and waits until it has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = EndingServer(configured(app or running.http.app), running.api.ending)
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()

        def end() -> None:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()

        try:
            yield "http://127.0.0.1:{1}".format(*listener.getsockname()), end
        finally:
            end()


class Held:
    """An answer that is held back until `go_on` is set."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> Answer:
        self.begun.set()
        assert self.go_on.wait(30)
        return found()


def asked(place: str, replies: list[httpx2.Response]) -> threading.Thread:
    def ask() -> None:
        replies.append(httpx2.post(place + _SEARCH, json={"vector": [1]}, timeout=30))

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_who_waits_longer_than_the_server_may_is_told_so_and_its_query_taken_back(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    with serving(tmp_path / "photos", ending_seconds=0.1) as running, listening(running) as (place, end):
        running.client.answer = held = Held()
        replies: list[httpx2.Response] = []
        asking = asked(place, replies)
        assert held.begun.wait(30)
        end()
        asking.join()
        assert (replies[0].status_code, replies[0].headers["content-type"]) == (503, "application/problem+json")
        assert (replies[0].headers["connection"], replies[0].headers["retry-after"]) == ("close", "2")
        assert "was told to end" in replies[0].json()["detail"]
        assert running.client.cancelled.wait(30)
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(place + "/healthz")
        held.go_on.set()


def test_what_is_under_way_is_answered_while_the_server_ends(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    with serving(tmp_path / "photos") as running, listening(running) as (place, end):
        running.client.answer = held = Held()
        replies: list[httpx2.Response] = []
        asking = asked(place, replies)
        assert held.begun.wait(30)
        ending = threading.Thread(target=end)
        ending.start()
        held.go_on.set()
        asking.join()
        ending.join()
        assert (replies[0].status_code, running.client.cancelled.is_set()) == (200, False)


def test_who_sends_no_body_or_takes_no_answer_does_not_keep_the_server(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")

    async def big(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"0" * (8 << 20), "more_body": True})
        await send({"type": "http.response.body"})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (big if scope["path"] == "/big" else running.http.app)(scope, receive, send)

    with (
        serving(tmp_path / "photos", ending_seconds=0.1) as running,
        listening(running, app) as (place, end),
        socket.create_connection((httpx2.URL(place).host, httpx2.URL(place).port or 0)) as sending,
        socket.create_connection((httpx2.URL(place).host, httpx2.URL(place).port or 0)) as taking,
    ):
        head = b"Host: localhost\r\nContent-Type: application/json\r\n"
        sending.sendall(b"POST /v1/jobs/photos/search HTTP/1.1\r\nContent-Length: 9\r\n" + head + b"\r\n{")
        taking.sendall(b"GET /big HTTP/1.1\r\n" + head + b"\r\n")
        assert taking.recv(9) == b"HTTP/1.1 "
        assert httpx2.get(place + "/healthz").status_code == 200
        end()
        assert sending.recv(65_536).startswith(b"HTTP/1.1 503")


def test_the_second_signal_ends_the_process_at_once() -> None:
    left: list[int] = []
    signals = Signals(left.append)

    def serve() -> None:
        with signals.taken():
            signals.server = EndingServer(configured(lambda *_: None), Ending())  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGTERM)
            assert (signals.server.should_exit, left) == (True, [])
            os.kill(os.getpid(), signal.SIGTERM)
            assert left == [130]

    with pytest.raises(KeyboardInterrupt):
        serve()


def test_a_signal_before_there_is_a_server_interrupts_what_is_being_started() -> None:
    went_on: list[str] = []

    def start() -> None:
        with Signals().taken():
            os.kill(os.getpid(), signal.SIGTERM)
            went_on.append("It went on.")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        start()
    assert went_on == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_that_waits_for_a_worker_does_not_keep_the_process() -> None:
    code = (
        "import threading; from coordinator.serve.guard.ending import leave_threads\n"
        "threading.Thread(target=threading.Event().wait).start(); print('ended'); leave_threads(130, 0.1)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "ended\n", "")
