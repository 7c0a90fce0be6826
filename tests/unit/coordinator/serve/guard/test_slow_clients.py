"""A real listening server, and clients that are slow on purpose: each is dropped, and the server goes on."""

import asyncio
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from coordinator.serve.guard.slow_clients import Impatient
from coordinator.serve.server import configured
from tests.support.http_api import serving
from tests.support.make_job import make_job

_BIG = 8 << 20


class _Hasty(Impatient):
    head_seconds, take_seconds = 1.0, 0.2


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    make_job(tmp_path / "photos")
    with serving(tmp_path / "photos", body_seconds=0.2) as running, socket.socket() as listener:

        async def app(scope, receive, send):
            if scope["path"] != "/big":
                await running.http.app(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"0" * _BIG, "more_body": True})
            await send({"type": "http.response.body"})

        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = configured(app, _Hasty)
        config.timeout_keep_alive = config.timeout_graceful_shutdown = 1
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        yield listener.getsockname()
        server.should_exit = True
        thread.join()


def answer_to(address: tuple[str, int], *sent: bytes) -> bytes:
    """All that the server sends until it closes."""
    with socket.create_connection(address, 30) as client:
        for part in sent:
            client.sendall(part)
        found = b""
        while True:
            try:
                part = client.recv(65_536)
            except ConnectionResetError:
                return found
            if not part:
                return found
            found += part


_HEAD = b"Host: localhost\r\n"


def test_a_head_that_does_not_come_is_not_waited_for(address: tuple[str, int]) -> None:
    assert answer_to(address) == b""
    assert answer_to(address, b"GET /healthz HTT") == b""
    # Nor the second one of a connection that is kept.
    assert answer_to(address, b"GET /healthz HTTP/1.1\r\n" + _HEAD + b"\r\nGET /hea").startswith(b"HTTP/1.1 200")


def test_a_body_that_does_not_come_is_not_waited_for(address: tuple[str, int]) -> None:
    head = b"POST /v1/jobs/photos/search HTTP/1.1\r\n" + _HEAD + b"Content-Type: application/json\r\n"
    answer = answer_to(address, head + b'Content-Length: 100\r\n\r\n{"vec')
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer.lower()


def test_an_answer_that_is_not_taken_is_dropped(address: tuple[str, int]) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.settimeout(30)
        client.connect(address)
        client.sendall(b"GET /big HTTP/1.1\r\n" + _HEAD + b"\r\n")
        # It is looked at without being taken, until the server has reset the connection.
        poll = select.poll()
        poll.register(client, 0)
        assert poll.poll(30_000), "the connection was kept"
