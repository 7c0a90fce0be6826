"""URLs that clients name: only public addresses are asked, whatever a name, a redirect or a server tries."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordinator.serve.guard.outgoing import Outgoing, is_public
from coordinator.serve.problems import Refused
from shared.errors import ImageError
from tests.support.http_api import serving
from tests.support.make_job import make_job

_PUBLIC, _OTHER = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


@contextmanager
def internet(*answers: bytes, names: dict[str, list[str]] | None = None, **options: float) -> Iterator[Outgoing]:
    """An internet of one server, which sends each of `answers` to one connection, and of `names` with their addresses;
    what is connected to has to be public."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        for one in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                try:
                    connection.sendall(one)
                    if one.endswith(b"..."):  # It sends no more, and keeps the connection.
                        connection.settimeout(30)
                        connection.recv(1)
                except OSError:
                    pass

    def resolved(host: str, port: int) -> list[str]:
        found = (names or {"photos.example": [_PUBLIC]}).get(host)
        return found if found is not None else [str(one[4][0]) for one in socket.getaddrinfo(host, port)]

    def connected(address: str, port: int, seconds: float) -> socket.socket:
        assert is_public(address)
        return socket.create_connection(listener.getsockname(), seconds)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield Outgoing(resolved=resolved, connected=connected, **options)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def image(data: bytes, length: int | None = None) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(data) if length is None else length) + data


def redirect(place: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


def test_a_public_image_is_fetched_also_behind_redirects() -> None:
    with internet(redirect("/b.jpg?x=1"), image(b"bytes")) as outgoing:
        assert outgoing.fetch("http://photos.example/a.jpg", 10) == b"bytes"
    with internet(b"HTTP/1.1 200 OK\r\n\r\nno length", names={"photos.example": [_OTHER]}) as outgoing:
        assert outgoing.fetch("http://photos.example", 100) == b"no length"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "0.0.0.0", "0", "10.0.0.1",
     "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "198.18.0.1", "192.0.0.1", "224.0.0.1", "240.0.0.1",
     "255.255.255.255", "[::1]", "[::]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]", "[ff02::1]", "[::ffff:127.0.0.1]",
     "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::1]",
     "inside.example", "both.example", "empty.example"],
)  # fmt: skip
def test_no_address_but_a_public_one_is_asked(host: str) -> None:
    names = {"inside.example": ["10.1.2.3"], "both.example": [_PUBLIC, "::1"], "empty.example": []}
    with internet(names=names) as outgoing, pytest.raises((Refused, ImageError)) as raised:
        outgoing.fetch(f"http://{host}/latest/meta-data", 10)
    assert isinstance(raised.value, Refused) or "not known" in str(raised.value)
    assert "10.1.2.3" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://photos.example/a", "gopher://photos.example/a", "//photos.example/a",
     "photos.example", "http:///a", "http://", "http://user@photos.example/", "http://user:key@photos.example/", "http://photos.example:22/",
     "http://photos.example:443/", "http://photos.example:x/", "http://[::1", "http://photos.example/a b",
     "http://photos.example/\r\nX: y", "http://photos.example/ü", "jar:http://photos.example!/a", ""],
)  # fmt: skip
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with internet() as outgoing, pytest.raises(Refused) as raised:
        outgoing.fetch(url, 10)
    assert raised.value.status == 422


@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1/", "http://[::ffff:10.0.0.1]/", "//inside.example/", "file:///etc/passwd",
     "http://photos.example:6379/", "http://user@photos.example/"],
)  # fmt: skip
def test_a_redirect_is_checked_as_the_first_url_was(place: str) -> None:
    names = {"photos.example": [_PUBLIC], "inside.example": ["192.168.0.1"]}
    with internet(redirect(place), image(b"secret"), names=names) as outgoing, pytest.raises(Refused):
        outgoing.fetch("http://photos.example/", 10)


def test_a_name_that_says_another_address_meanwhile_changes_nothing() -> None:
    said = [[_PUBLIC], ["127.0.0.1"]]
    with internet(image(b"bytes"), image(b"more")) as outgoing:
        turning = Outgoing(resolved=lambda host, port: said.pop(0), connected=outgoing.connected)
        assert turning.fetch("http://photos.example/", 10) == b"bytes"
        with pytest.raises(Refused):
            turning.fetch("http://photos.example/", 10)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (image(b"0" * 11), "oversized"),
        (image(b"0", 1 << 40), "oversized"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"0" * 11, "oversized"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n" + b"0" * 11 + b"\r\n0\r\n\r\n", "oversized"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "unreadable"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "unreadable"),
        (b"SSH-2.0-OpenSSH\r\n", "unreadable"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000 + b"\r\n", "unreadable"),
        (b"", "unreadable"),
        (image(b"0", 9), "truncated"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n0", "unreadable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n...", "unreadable"),
        (b"HTTP/1.1 200 OK\r\nX: ...", "unreadable"),
    ],
)
def test_an_answer_that_is_no_image_in_time_is_an_image_error(answer: bytes, status: str) -> None:
    seconds = 0.5 if answer.endswith(b"...") else 30.0
    with internet(answer, seconds=seconds) as outgoing, pytest.raises(ImageError) as raised:
        outgoing.fetch("http://photos.example/", 10)
    assert raised.value.status == status


def test_redirects_come_to_an_end() -> None:
    with internet(*[redirect("/again")] * 9) as outgoing, pytest.raises(ImageError, match="leads on more than"):
        outgoing.fetch("http://photos.example/", 10)


def test_urls_are_searched_for_only_where_they_are_allowed(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    body = {"url": "http://photos.example/a.jpg"}
    with serving(tmp_path / "photos") as running:
        assert running.http.post("/v1/jobs/photos/search", json=body).status_code == 403
    with internet(image(b"bytes")) as outgoing, serving(tmp_path / "photos", outgoing=outgoing) as running:
        reply = running.http.post("/v1/jobs/photos/search", json=body)
        assert (reply.status_code, reply.json()["query"]) == (200, "url")
        assert running.client.asked[0][0].image == b"bytes"
        for url, status in (("http://127.0.0.1/a.jpg", 422), ("file:///etc/passwd", 422), ("http://", 422)):
            assert running.http.post("/v1/jobs/photos/search", json={"url": url}).status_code == status
        assert len(running.client.asked) == 1
