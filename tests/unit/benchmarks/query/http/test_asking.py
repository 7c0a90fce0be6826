"""The client of the HTTP benchmark, against a server that answers some requests and drops others."""

import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.query.http.asking import Request, ask


class _Answers(BaseHTTPRequestHandler):
    """Answers /ok, refuses /busy, and hangs up on everything else."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        assert body in (b"", b"body")
        status = {"/ok": 200, "/busy": 429}.get(self.path)
        if status is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield "127.0.0.1", server.server_port
        server.shutdown()
        thread.join()


def test_each_request_is_sent_once_and_what_became_of_it_is_counted(address: tuple[str, int]) -> None:
    requests = [Request.get("/ok")] * 5 + [Request.post("/busy", "text/plain", b"body")] * 2
    found = ask(address, requests, 3)
    assert found.statuses == Counter({200: 5, 429: 2})
    assert len(found.milliseconds) == 5
    assert found.seconds > 0


def test_a_connection_that_breaks_is_no_answer(address: tuple[str, int]) -> None:
    found = ask(address, [Request.get("/ok"), Request.get("/gone"), Request.get("/never")], 1)
    assert found.statuses == Counter({200: 1, 0: 1})
