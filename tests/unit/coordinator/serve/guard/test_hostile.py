"""Requests that mean harm, sent over a real socket: each is refused in a sentence, and the connection goes on or ends
as it must; docs/http.md has the table."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from coordinator.serve.guard.ending import EndingServer
from coordinator.serve.guard.slow_clients import Impatient
from coordinator.serve.server import configured
from tests.support.http_api import READ_KEY, WRITE_KEY, Running, key_file, serving
from tests.support.make_job import make_job

_SEARCH, _IMAGES = "/v1/jobs/photos/search", "/v1/jobs/photos/images"
_MOST = 200_000


class _Patient(Impatient):
    late_seconds = 60.0  # As long as a busy machine may take to send all of it.


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, tuple[str, int]]]:
    """A server with keys that listens, for all tests here; none may change what it serves."""
    folder = tmp_path_factory.mktemp("hostile")
    make_job(folder / "photos")
    with (
        serving(folder / "photos", key_file(folder), here=False, max_query_bytes=_MOST, most_held=64 << 20) as running,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        server = EndingServer(configured(running.http.app, _Patient), running.api.ending)
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        yield running, listener.getsockname()
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class Answered:
    """What came back: the status, the headers, the body, and whether the connection took another request."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    goes_on: bool


def answer_to(address: tuple[str, int], *sent: bytes) -> Answered:
    with socket.create_connection(address, 30) as client:
        for part in sent:
            try:
                client.sendall(part)
            except ConnectionError:  # It was refused, and is not read any more.
                break
        reply = http.client.HTTPResponse(client)
        reply.begin()
        body = reply.read()
        goes_on = False
        with suppress(ConnectionError, http.client.HTTPException):
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            following = http.client.HTTPResponse(client)
            following.begin()
            goes_on = following.status == 200
        return Answered(reply.status, reply.headers, body, goes_on)


def refused(attacked: tuple[Running, tuple[str, int]], sent: tuple[bytes, ...], status: int, *, goes_on: bool) -> str:
    """The sentence of a request that is refused as it has to be, with nobody asked and nothing changed."""
    running, address = attacked
    running.client.asked.clear()
    found = answer_to(address, *sent)
    assert (found.status, found.headers["content-type"]) == (status, "application/problem+json"), found.body
    assert found.headers["x-content-type-options"] == "nosniff"
    told = json.loads(found.body)
    assert (told["status"], told["detail"][-1]) == (status, ".")
    assert found.goes_on == goes_on
    assert running.client.asked == running.client.changed == running.thumbnails.asked == []
    return str(told["detail"])


def head(method: str, path: str, *lines: str, key: str = WRITE_KEY) -> bytes:
    return "\r\n".join(
        [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}", *lines, "", ""]
    ).encode("latin-1")


def form(path: str, body: bytes, *lines: str) -> bytes:
    kind = "Content-Type: multipart/form-data; boundary=x"
    return head("POST", path, kind, f"Content-Length: {len(body)}", *lines) + body


def asking(body: bytes) -> bytes:
    return head("POST", _SEARCH, "Content-Type: application/json", f"Content-Length: {len(body)}") + body


def part(disposition: str, data: bytes = b"bytes") -> bytes:
    return f"--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + data + b"\r\n"


_FILE = part('name="image"; filename="a.jpg"')


@pytest.mark.parametrize(
    "path",
    ["/v1/jobs/photos/images/../../../job.json", "/v1/jobs/photos/images/%2e%2e%2f%2e%2e%2fjob.json/file",
     "/v1/jobs/photos/images/%252e%252e%252fjob.json/file", "/v1/jobs/photos/images/..%5c..%5cjob.json/file",
     "/v1/jobs/photos/images/3%00/file", "/v1/jobs/..%2fphotos/status", "/v1/jobs/%2fetc/status",
     "/v1/jobs/photos%00/status", "/page/../../server.py", "/page/%2e%2e/%2e%2e/server.py", "/page/..%5cserver.py",
     "/page//etc/passwd", "/page/index.html%00", "/etc/passwd", "//etc/passwd", "http://evil.example/v1/jobs",
     "/v1/jobs/photos/images/%c0%ae%c0%ae/file"],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_not_found(attacked: tuple[Running, tuple[str, int]], path: str) -> None:
    refused(attacked, (head("GET", path),), 404, goes_on=True)


_JSON = ("Content-Type: application/json",)
_CHUNKED = ("Content-Type: multipart/form-data; boundary=x", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ((head("POST", _SEARCH, *_JSON, f"Content-Length: {1 << 60}", "Expect: 100-continue"),), 413),
        ((head("POST", _SEARCH, "Content-Type: multipart/form-data; boundary=x", "Content-Length: 9999999") + _FILE,),
         413),
        ((head("POST", _SEARCH, *_CHUNKED), b"%x\r\n" % len(_FILE) + _FILE + b"\r\n", *[b"10000\r\n" + b"0" * 65_536 +
          b"\r\n"] * 99), 413),
        ((head("POST", _SEARCH, *_CHUNKED) + b"f" * 25 + b"\r\n" + _FILE,), 400),
        ((head("POST", _SEARCH, *_CHUNKED) + b"-5\r\n" + _FILE,), 400),
        ((head("POST", _SEARCH, *_CHUNKED, "Content-Encoding: gzip"),), 415),
        ((head("POST", _SEARCH, "Content-Type: application/json", "Content-Length: -1"),), 400),
        ((head("POST", _SEARCH, "Content-Type: application/json", "Content-Length: 1e3"),), 400),
    ],
    ids=["a length that lies, with a hand held out", "a length that is too much", "chunks without an end",
         "a chunk of more than all", "a chunk of less than nothing", "compressed", "less than nothing", "no number"],
)  # fmt: skip
def test_a_giant_or_endless_body_is_refused_and_the_connection_closed(
    attacked: tuple[Running, tuple[str, int]], sent: tuple[bytes, ...], status: int
) -> None:
    refused(attacked, sent, status, goes_on=False)


def test_who_sends_all_of_too_much_before_reading_sees_the_answer(attacked: tuple[Running, tuple[str, int]]) -> None:
    _, address = attacked
    with socket.create_connection(address, 30) as client:
        client.sendall(head("POST", _SEARCH, *_JSON, f"Content-Length: {32 << 20}"))
        for _ in range(32):
            client.sendall(b"0" * (1 << 20))
        reply = http.client.HTTPResponse(client)
        reply.begin()
        assert (reply.status, "no more are read" in json.loads(reply.read())["detail"]) == (413, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (_FILE, 400),
        (_FILE[:-9], 400),
        (part('filename="a.jpg"') + b"--x--\r\n", 400),
        (_FILE * 2 + b"--x--\r\n", 400),
        (_FILE * 3_000 + b"--x--\r\n", 400),
        (_FILE + part('name="k"', b"1") * 3_000 + b"--x--\r\n", 400),
        (_FILE + part('name="k"', b"1") * 2 + b"--x--\r\n", 422),
        (_FILE + part('name="k"', b"1" * 70_000) + b"--x--\r\n", 400),
        (b"--x\r\n" + b"A: b\r\n" * 20_000, 400),
        (b"--x\r\nA: " + b"b" * 100_000, 400),
        (_FILE + part('name="constructor"', b"1") + b"--x--\r\n", 422),
    ],
    ids=["without an end", "cut", "no name", "two files", "thousands of files", "thousands of fields",
         "one field twice", "a long field", "many headers", "a long header", "an unknown field"],
)  # fmt: skip
def test_a_form_that_is_bad_is_refused(attacked: tuple[Running, tuple[str, int]], body: bytes, status: int) -> None:
    refused(attacked, (form(_SEARCH, body),), status, goes_on=False)


@pytest.mark.parametrize(
    "kind",
    ["form-data", "form-data; boundary=", "form-data; boundary=y", "form-data; boundary=" + "x" * 9_000,
     "mixed; boundary=x"],
    ids=lambda kind: kind[:25],
)  # fmt: skip
def test_a_form_without_its_boundary_is_refused(attacked: tuple[Running, tuple[str, int]], kind: str) -> None:
    body = _FILE + b"--x--\r\n"
    sent = head("POST", _SEARCH, f"Content-Type: multipart/{kind}", f"Content-Length: {len(body)}") + body
    refused(attacked, (sent,), 415 if "mixed" in kind else 400, goes_on=False)


@pytest.mark.parametrize(
    "disposition",
    ['name="image"; filename="a\r\nX-Injected: y.jpg"', "name=\"image\"; filename*=utf-8''a%0d%0aX-Injected:%20y.jpg",
     "name=\"image\"; filename*=utf-8''..%2f..%2f..%2fetc%2fx.jpg", 'name="image"; filename="../../x.jpg"',
     'name="image"; filename="..\\\\..\\\\x.jpg"'],
)  # fmt: skip
def test_a_file_name_is_no_path_and_no_header(attacked: tuple[Running, tuple[str, int]], disposition: str) -> None:
    running, address = attacked
    found = answer_to(address, form(_IMAGES, part(disposition) + b"--x--\r\n"))
    assert "x-injected" not in found.headers
    names = [name for change in running.client.changed for name, _ in change[1]]
    running.client.changed.clear()
    assert found.status in (201, 400, 422)
    assert not any("/" in name or "\\" in name or name.startswith("..") for name in names)


_OTHER = b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: smuggled\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        head("POST", _SEARCH, "Content-Type: application/json", "Content-Length: 4", "Transfer-Encoding: chunked")
        + b"0\r\n\r\n" + _OTHER,
        head("POST", _SEARCH, "Transfer-Encoding: chunked", "Content-Length: 4") + b"0\r\n\r\n" + _OTHER,
        head("POST", _SEARCH, "Content-Length: 4", "Content-Length: 5") + b"{}  " + _OTHER,
        head("POST", _SEARCH, "Content-Length: 4, 5") + b"{}  " + _OTHER,
        head("POST", _SEARCH, "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + b"0\r\n\r\n" + _OTHER,
        head("POST", _SEARCH, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n" + _OTHER,
        head("POST", _SEARCH, "Transfer-Encoding: xchunked") + b"0\r\n\r\n" + _OTHER,
        head("POST", _SEARCH, "Transfer-Encoding : chunked") + b"0\r\n\r\n" + _OTHER,
        head("POST", _SEARCH, "Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n" + _OTHER,
        head("GET", "/healthz", "X: y\rz"),
        head("GET", "/healthz", "X: y\x00z"),
        head("GET", "/healthz", "X y: z"),
        head("GET", "/healthz", "Host: localhost"),
        head("GET", "/healthz").replace(b"Host: localhost\r\n", b""),
        head("GET", "/healthz").replace(b"Host: localhost", b"Host: local\r\n host"),
        head("GET", "/health z"),
        head("GET", "/healthz").replace(b"HTTP/1.1", b"HTTP/2.0"),
        head("GET", "/healthz", *["X: y"] * 400_000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
    ids=["both lengths", "both lengths, turned", "two lengths", "two lengths in one", "two encodings", "gzip in chunks",
         "an unknown encoding", "a blank before the colon", "chunks of HTTP/1.0", "a bare CR", "a NUL",
         "a blank in a name", "two hosts", "no host", "a folded host", "a blank in the path", "another version",
         "a head of megabytes", "HTTP/2",
         "TLS"],
)  # fmt: skip
def test_a_head_that_can_be_read_in_two_ways_is_refused_and_nothing_follows(
    attacked: tuple[Running, tuple[str, int]], sent: bytes
) -> None:
    _, address = attacked
    found = answer_to(address, sent)
    assert (found.status, found.headers["content-type"]) == (400, "application/problem+json"), found.body
    assert b"smuggled" not in found.body
    assert json.loads(found.body)["detail"].endswith(".")
    if b"Length" in sent or b"Encoding" in sent:
        assert not found.goes_on


@pytest.mark.parametrize(
    ("lines", "path", "status"),
    [
        ([], "/v1/jobs", 401),
        (["Authorization: Bearer " + "x" * 40], "/v1/jobs", 401),
        (["Authorization: Basic " + READ_KEY], "/v1/jobs", 401),
        (["Authorization: Bearer " + READ_KEY, "Authorization: Bearer " + "x" * 40], "/v1/jobs", 401),
        (["Cookie: key=" + READ_KEY], "/v1/jobs", 401),
        ([], f"/v1/jobs?key={READ_KEY}", 401),
        ([], f"/v1/jobs?access_token={READ_KEY}", 401),
        (["X-Api-Key: " + READ_KEY], "/v1/jobs", 401),
        (["X-Forwarded-For: 127.0.0.1"], "/v1/jobs", 401),
        (["Authorization: Bearer " + READ_KEY], f"{_IMAGES}/3", 403),
    ],
    ids=["none", "wrong", "another scheme", "two", "in a cookie", "in the query", "as a token", "in another header",
         "from here", "read for write"],
)  # fmt: skip
def test_a_key_that_is_none_opens_nothing(
    attacked: tuple[Running, tuple[str, int]], lines: list[str], path: str, status: int
) -> None:
    method = "DELETE" if status == 403 else "GET"
    sent = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()
    refused(attacked, (sent,), status, goes_on=True)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "localhost@evil.example", "evil.example#localhost", "localhost:x",
     "localhost:0", "localhost:99999", "127.0.0.1.evil.example", "2130706433", "[::1", "", "localhost/", "127.0.0.2"],
)  # fmt: skip
def test_another_host_is_not_answered_for(attacked: tuple[Running, tuple[str, int]], host: str) -> None:
    sent = head("GET", "/v1/jobs").replace(b"Host: localhost", b"Host: " + host.encode())
    refused(attacked, (sent,), 400, goes_on=True)


@pytest.mark.parametrize(
    "lines",
    [["Sec-Fetch-Site: cross-site"], ["Sec-Fetch-Site: same-site"], ["Origin: https://evil.example"], ["Origin: null"],
     ["Origin: http://localhost.evil.example"], ["Origin: http://localhost:1"]],
    ids=lambda lines: lines[0],
)  # fmt: skip
def test_the_page_of_another_site_changes_and_uploads_nothing(
    attacked: tuple[Running, tuple[str, int]], lines: list[str]
) -> None:
    refused(attacked, (form(_IMAGES, _FILE + b"--x--\r\n", *lines),), 403, goes_on=False)
    refused(attacked, (head("DELETE", f"{_IMAGES}/3", *lines),), 403, goes_on=True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 400),
        (b'{"ids": ' + b"[" * 4_000 + b"]" * 4_000 + b"}", 400),
        (b"[" + b"{}," * 1_000_000 + b"1]", 400),
        (b'{"vector": [' + b"1," * 1_200_000 + b"1]}", 400),
        (b'{"vector": [' + b"1," * 70_000 + b"1]}", 422),
        (b'{"vector": [NaN]}', 400),
        (b'{"vector": [-Infinity]}', 400),
        (b'{"vector": [1e999]}', 422),
        (b'{"vector": [1], "k": ' + b"9" * 100_000 + b"}", 400),
        (b'{"vector": [1], "k": 1e400}', 422),
        (b'{"vector": [1], "vector": [2]}', 400),
        (b'{"vector": [1], "k": {"$gt": 0}}', 422),
        (b'{"vector": [1], "__proto__": 1}', 422),
        (b'{"vector": [1], "k": true}', 422),
        (b'{"vector": [1], "where": "' + b"(" * 5_000 + b'"}', 422),
        (b'{"vector": [1], "where": "\\ud800"}', 422),
        (b'{"vector": "1"}', 422),
        (b"\xff\xfe{\x00}\x00", 400),
        (b"null", 422),
    ],
    ids=["deep", "deep in a field", "a million objects", "a million numbers", "more numbers than a vector has", "NaN",
         "infinity", "a number that is infinite", "a hundred thousand digits", "more than a float holds",
         "a field twice", "an object for a number", "an unknown field", "true for a number", "a long expression",
         "half a character", "a text for a list", "UTF-16", "null"],
)  # fmt: skip
def test_a_json_body_that_is_a_bomb_or_no_request_is_refused(
    attacked: tuple[Running, tuple[str, int]], body: bytes, status: int
) -> None:
    refused(attacked, (asking(body),), status, goes_on=False)


def test_a_body_that_turns_bad_while_it_is_answered_ends_the_connection_without_a_word_in_the_log(
    attacked: tuple[Running, tuple[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    sent = head("POST", _SEARCH, *_CHUNKED)
    refused(attacked, (sent + b"5\r\n--x\r\n\r\n", b"no chunk\r\n"), 400, goes_on=False)
    assert not [record for record in caplog.records if record.exc_info]
