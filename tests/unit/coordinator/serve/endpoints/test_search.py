"""Searches over HTTP: what is asked of the client, what comes back, and what is refused before anybody is asked."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx2
import numpy as np
import pytest

from coordinator.serve.app import application
from coordinator.serve.guard.hosts import answered_for
from shared.errors import AnotherJob, BrokerUnreachable, ImageError, NoIndexYet, NoWorker, QueryError, ReplyTimeout
from shared.errors.remedy import Remedy
from shared.messages.search import Answer
from shared.messages.verified import Verify
from tests.support.evidence import evidence
from tests.support.http_api import Running, found, hits, serving
from tests.support.make_job import make_job


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job; leave it as it is."""
    return make_job(tmp_path_factory.mktemp("jobs") / "photos").job.path


@pytest.fixture
def running(photos: Path) -> Iterator[Running]:
    with serving(photos) as running:
        yield running


def test_an_upload_is_searched_for_and_answered_as_the_command_answers(running: Running) -> None:
    reply = running.http.post(
        "/v1/jobs/photos/search", files={"image": ("../../x.jpg", b"bytes")}, data={"k": "3", "verify": "always"}
    )
    assert reply.status_code == 200
    ((query, how),) = running.client.asked
    assert (query.image, how["k"], how["verify"], how["exact"]) == (b"bytes", 3, Verify("always", 1), False)
    told = reply.json()
    assert [hit["id"] for hit in told["hits"]] == [0, 1, 2]
    assert told["query"] == "image"
    assert told["searched"] == {"images": 3, "listed": 3, "share": 1.0}
    assert told["answered_by"]["worker"] == "worker@here"


def test_a_vector_with_all_that_can_be_asked(running: Running) -> None:
    body = {"vector": [1, 0.5], "k": 2, "ids": [4, 2], "exact": True, "views": 3, "partial": True, "where": None}
    assert running.http.post("/v1/jobs/photos/search", json=body).status_code == 200
    ((query, how),) = running.client.asked
    np.testing.assert_array_equal(query.vector, np.array([1, 0.5], np.float32))
    assert (how["k"], how["exact"], how["partial"], how["verify"]) == (2, True, True, Verify("auto", 3))
    np.testing.assert_array_equal(how["filter"].ids, [2, 4])
    assert running.http.post("/v1/jobs/photos/search", json={"vector": [1], "where": "width > 3"}).status_code == 200
    assert running.client.asked[1][1]["filter"].where == "width > 3"


def test_an_image_id_is_searched_for_by_its_stored_embedding(tmp_path: Path) -> None:
    made = make_job(tmp_path / "photos")
    with serving(tmp_path / "photos") as running:
        wanted = int(made.ids[3])
        assert (
            running.http.post("/v1/jobs/photos/search", json={"image_id": wanted}).json()["query"] == f"image {wanted}"
        )
        vector = running.client.asked[0][0].vector
        assert vector is not None
        np.testing.assert_allclose(vector, made.embeddings[3], atol=1e-3)
        assert running.http.post("/v1/jobs/photos/search", json={"image_id": 10**9}).status_code == 422


def test_hits_that_are_not_similar_enough_are_left_out_unless_they_are_proven(running: Running) -> None:
    first, second, third = hits(0.9, 0.5, 0.2)
    proven = type(third)(3, 2, "/photos/3.jpg", 0.2, "same picture", evidence())
    running.client.answer = lambda: found(first, second, proven)
    told = running.http.post("/v1/jobs/photos/search", json={"vector": [1], "min_similarity": 0.6}).json()
    assert [hit["id"] for hit in told["hits"]] == [0, 2]
    assert told["left_out"] == 1
    assert told["hits"][1]["description"].endswith("matching points")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "expected just one"),
        ({"vector": [1], "image_id": 0}, "expected just one"),
        ({"vector": []}, "vector has 0 items"),
        ({"vector": ["1"]}, "a list of numbers"),
        ({"vector": [True]}, "a list of numbers"),
        ({"vector": [10**400]}, "a list of numbers"),
        ({"vector": [1], "k": 0}, "k is 0; expected 1 to 1,000"),
        ({"vector": [1], "k": 1.5}, "a whole number"),
        ({"vector": [1], "K": 5}, "no field 'K'"),
        ({"vector": [1], "verify": "perhaps"}, "expected one of auto"),
        ({"vector": [1], "min_similarity": 2}, "expected -1 to 1"),
        ({"vector": [1], "ids": [1], "where": "width > 1"}, "just one"),
        ({"vector": [1], "ids": [10**30]}, "ids"),
        ([1], "expected a JSON object"),
    ],
)
def test_a_field_that_is_not_right_is_said_and_nobody_is_asked(running: Running, body: object, says: str) -> None:
    reply = running.http.post("/v1/jobs/photos/search", json=body)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert says in reply.json()["detail"]
    assert running.client.asked == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"vector": [1], "vector": [2]}', "application/json", 400),
        (b'{"vector": [NaN]}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"k": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"", "application/json", 400),
        (b"bytes", "image/jpeg", 415),
        (b"bytes", "", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"no boundary", "multipart/form-data", 400),
        (b"--x\r\nrubbish", "multipart/form-data; boundary=x", 400),
        (b'--x\r\nContent-Disposition: form-data; name="k"\r\n\r\n3\r\n--x--\r\n',
         "multipart/form-data; boundary=x", 400),
        (b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n3\r\n--x--\r\n',
         "multipart/form-data; boundary=x", 400),
    ],
)  # fmt: skip
def test_a_body_that_is_malformed_is_refused(running: Running, body: bytes, kind: str, status: int) -> None:
    reply = running.http.post("/v1/jobs/photos/search", content=body, headers={"Content-Type": kind})
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json")
    assert running.client.asked == []


def test_a_body_of_too_many_bytes_is_refused_before_it_is_read_and_while_it_comes(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    read = []

    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for number in range(1_000):
            read.append(number)
            yield b"0" * 65_536

    with serving(tmp_path / "photos", max_query_bytes=200_000) as running:
        said = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(1 << 40)}
        reply = running.http.post("/v1/jobs/photos/search", content=b"", headers=said)
        assert (reply.status_code, reply.headers["connection"]) == (413, "close")
        reply = running.http.post(
            "/v1/jobs/photos/search", content=endless(), headers={"Content-Type": said["Content-Type"]}
        )
        assert reply.status_code == 413
        big = running.http.post("/v1/jobs/photos/search", files={"image": b"0" * 200_001})
        assert big.status_code == 413
        assert "max_query_bytes" in big.json()["detail"]
        assert running.client.asked == []


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (NoIndexYet("Nothing is embedded."), 409, None),
        (AnotherJob("It is another job."), 409, None),
        (QueryError("The vector has 2 values; expected 16."), 422, None),
        (ImageError("It is no image.", "not-an-image"), 415, None),
        (ImageError("It has too many pixels.", "oversized"), 413, None),
        (ImageError("It can't be decoded.", "damaged"), 422, None),
        (NoWorker("Nobody", remedy=Remedy("worker", does="start one with {}", given={"role": "query"})), 503, "2"),
        (BrokerUnreachable("It is away."), 503, "2"),
        (ReplyTimeout("It was too slow."), 504, "2"),
    ],
)
def test_an_error_of_a_worker_is_a_problem(running: Running, error: Exception, status: int, retry: str | None) -> None:
    running.client.answer = lambda: Answer(error=error)  # type: ignore[arg-type]
    reply = running.http.post("/v1/jobs/photos/search", json={"vector": [1]}, headers={"X-Request-Id": "mine"})
    told = reply.json()
    assert (reply.status_code, told["status"], reply.headers.get("retry-after")) == (status, status, retry)
    assert (told["detail"], told["kind"], told["request_id"]) == (str(error), type(error).__name__, "mine")
    assert reply.headers["x-request-id"] == "mine"
    assert ("remedy" in told) == isinstance(error, NoWorker)


def test_an_unknown_job_is_not_found(running: Running) -> None:
    for job in ("other", "..", "%2e%2e%2fphotos", "photos%2F..", "%00", "photos%0d%0aX: y"):
        reply = running.http.post(f"/v1/jobs/{job}/search", json={"vector": [1]})
        assert reply.status_code == 404, job
        assert reply.headers["content-type"] == "application/problem+json"
    assert running.client.asked == []


def test_more_searches_than_may_wait_are_refused(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    go_on, busy = threading.Event(), threading.Semaphore(0)
    with serving(tmp_path / "photos", waiting=0) as running:

        def answer() -> Answer:
            busy.release()
            assert go_on.wait(30)
            return found()

        running.client.answer = answer
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(running.http.post("/v1/jobs/photos/search", json={"vector": [1]}).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert busy.acquire(timeout=30)
        reply = running.http.post("/v1/jobs/photos/search", json={"vector": [1]})
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
        go_on.set()
        for thread in threads:
            thread.join()
        assert statuses == [200, 200]


def test_no_more_bytes_are_held_at_once_than_there_is_memory_for(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    go_on, busy = threading.Event(), threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        yield b"0" * 60_000
        yield b"\r\n--x--\r\n"

    with serving(tmp_path / "photos", most_held=100_000) as running:

        def answer() -> Answer:
            busy.set()
            assert go_on.wait(30)
            return found()

        running.client.answer = answer
        upload = {"image": b"0" * 60_000}
        first: list[int] = []

        def ask() -> None:
            first.append(running.http.post("/v1/jobs/photos/search", files=upload).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        assert busy.wait(30)
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        for reply in (
            running.http.post("/v1/jobs/photos/search", files=upload),
            running.http.post("/v1/jobs/photos/search", content=chunks(), headers=headers),
        ):
            assert (reply.status_code, reply.headers["retry-after"]) == (429, "1")
        go_on.set()
        thread.join()
        assert first == [200]
        for _ in range(3):  # What was answered or refused is held no more.
            assert running.http.post("/v1/jobs/photos/search", files=upload).status_code == 200


def test_the_query_of_a_client_that_goes_away_is_taken_back(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    go_on, begun = threading.Event(), threading.Event()
    with serving(tmp_path / "photos") as running:

        def answer() -> Answer:
            begun.set()
            assert go_on.wait(30)
            return found()

        running.client.answer = answer
        app = application(running.api, answered_for("127.0.0.1", ()))
        body = json.dumps({"vector": [1]}).encode()
        sent: list[object] = []

        async def ask() -> None:
            messages: Iterator[dict[str, object]] = iter([{"type": "http.request", "body": body}])

            async def receive() -> dict[str, object]:
                for message in messages:
                    return message
                await anyio.to_thread.run_sync(begun.wait)
                return {"type": "http.disconnect"}

            async def send(message: object) -> None:
                sent.append(message)

            headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
            path = "/v1/jobs/photos/search"
            scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "query_string": b"",
                     "headers": headers, "raw_path": path.encode()}  # fmt: skip
            await app(scope, receive, send)

        anyio.run(ask)
        assert running.client.cancelled.wait(30)
        go_on.set()
        assert isinstance(sent[0], dict)
        assert sent[0]["status"] == 499


def test_many_at_once_are_all_answered(running: Running) -> None:
    async def ask_all() -> list[int]:
        transport = httpx2.ASGITransport(application(running.api, answered_for("127.0.0.1", ())))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            statuses: list[int] = []

            async def one() -> None:
                statuses.append((await http.post("/v1/jobs/photos/search", json={"vector": [1]})).status_code)

            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(one)
            return statuses

    assert anyio.run(ask_all) == [200] * 10


def test_a_search_waits_for_a_worker_that_comes_back_and_tries_once_more(running: Running) -> None:
    outcomes = [Answer(error=NoWorker("There is none.")), found(*hits(0.5))]
    running.client.answer = lambda: outcomes.pop(0)
    running.service.comes_back = True
    assert running.http.post("/v1/jobs/photos/search", json={"vector": [1]}).status_code == 200
    outcomes += [Answer(error=NoWorker("There is none.")), Answer(error=NoWorker("There is still none."))]
    reply = running.http.post("/v1/jobs/photos/search", json={"vector": [1]})
    assert (reply.status_code, outcomes) == (503, [])
