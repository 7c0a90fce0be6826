"""The HTTP API as a user runs it: the command, its own broker and query worker, and clients that upload and go away."""

import os
import re
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from coordinator.local.broker import EmbeddedBroker
from shared.broker.connection import connect, make_app
from shared.broker.queues import held_tasks, queued_tasks
from shared.settings import Settings
from tests.integration.faults.faults import Faults, light_model
from tests.support.images.photographs import make_photos
from tests.support.processes import PATIENCE_SECONDS, Process, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)


def test_a_server_searches_with_a_worker_of_its_own_which_may_die_changes_the_job_and_takes_back_queries(
    few_photos: Path, tmp_path: Path, start: Callable[..., Process]
) -> None:
    job = tmp_path / "jobs" / "job"
    done = run("index", few_photos, job, env=environment() | light_model())
    assert done.returncode == 0, done.stderr
    faults = Faults(tmp_path / "faults")
    held = faults.on_step("answer", do="wait", times=1)
    counted = faults.on_step("answer", do="sleep")
    env = environment(LOOKALIKE_QUERY_THREADS="1") | faults.environment(light=True)
    server = start("serve", job, "--port", "0", env=env)
    (place,) = wait_until(lambda: re.findall(r"^(http://\S+) serves", server.output, re.MULTILINE), "it listens")
    photo = few_photos / "photo_00007.jpg"
    image = {"image": ("any.jpg", photo.read_bytes())}
    search = "/v1/jobs/job/search"

    with httpx2.Client(base_url=place, timeout=PATIENCE_SECONDS) as http, ThreadPoolExecutor(1) as program:
        wait_until(lambda: http.get("/readyz").status_code == 200, "the query worker is there")

        # The only thread of the worker is held with the first query when the client of the second goes away.
        first = program.submit(http.post, search, files=image, data={"k": "3"})
        wait_until(lambda: held.reached, "the worker has the first query in hand")
        _ask_and_go_away(place, job)
        wait_until(lambda: _taken_back(job), "the worker was told that nobody waits")
        held.lift()
        told = first.result().json()
        assert (len(told["hits"]), told["hits"][0]["verdict"]) == (3, "same bytes")
        assert told["hits"][0]["image_path"] == str(photo)

        one = told["hits"][0]["id"]
        by_id = http.post(search, json={"image_id": one, "k": 1, "verify": "never"}).json()
        assert [hit["id"] for hit in by_id["hits"]] == [one]
        assert counted.reached == 2  # The first and this one: that between them was never begun.
        no_image = http.post(search, files={"image": b"this is no image"})
        assert (no_image.status_code, no_image.json()["kind"]) == (415, "ImageError")
        status = http.get("/v1/jobs/job/status").json()
        assert " 499 " in server.output
        assert (status["failed"], status["broker"]["queries"]) == (4, ["all"])

        # A thumbnail comes out of the worker, and then off the disk; the file as it was embedded.
        hit = told["hits"][0]
        for _ in range(2):
            small = http.get(hit["thumbnail"])
            assert (small.status_code, small.content[:2]) == (200, b"\xff\xd8"), small.text
        assert http.get(hit["file"], headers={"Range": "bytes=2-"}).content == photo.read_bytes()[2:]

        # What is added is found at once, and not any more when it is deleted.
        new = make_photos(tmp_path / "new", 61)[60].read_bytes()
        for _ in range(2):  # The second time it is the same request, which was done.
            added = http.post("/v1/jobs/job/images", files={"image": ("new.jpg", new)}, data={"request": "once"})
            assert added.status_code == 201, added.text
            assert added.json()["ids"] == [64]
        upload = {"image": ("any.jpg", new)}
        assert http.post(search, files=upload, data={"k": "1"}).json()["hits"][0]["id"] == 64
        assert http.get("/v1/jobs/job/images/64/file").content == new
        assert http.delete("/v1/jobs/job/images/64").json() == {"removed": 64}
        assert http.post(search, files=upload, data={"k": "1"}).json()["hits"][0]["id"] != 64
        assert http.get("/v1/jobs/job/images/64/file").status_code == 410
        not_one = http.post("/v1/jobs/job/images", files={"image": ("text.jpg", b"this is no image")})
        assert (not_one.status_code, not_one.json()["kind"]) == (415, "ImageError")

        os.kill(held.pids[0], signal.SIGKILL)
        again = http.post(search, files=image)
        if again.status_code != 200:  # The dying worker took it with it.
            assert (again.status_code, again.json()["kind"], again.headers["retry-after"]) == (503, "WorkerFailed", "2")
            again = http.post(search, files=image)
        assert again.json()["hits"][0]["id"] == one
    server.kill(signal.SIGTERM)
    assert server.wait() == 130, server.output
    assert "The server ended." in server.output
    assert "Traceback" not in server.output


def _ask_and_go_away(place: str, job: Path) -> None:
    """Send a query, and close the connection once it has reached the broker."""
    body = b'{"image_id": 3, "verify": "never"}'
    head = "POST /v1/jobs/job/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    url = httpx2.URL(place)
    with (
        EmbeddedBroker(job.parent, start=False) as broker,
        connect(Settings(broker_url=broker.url)) as client,
        socket.create_connection((url.host, url.port or 0)) as connection,
    ):
        connection.sendall(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: queued_tasks(client, "query") or held_tasks(client), "the second query is sent")


def _taken_back(job: Path) -> bool:
    """Whether a worker knows of a query that it is not to begin."""
    with EmbeddedBroker(job.parent, start=False) as broker:
        app = make_app(Settings(broker_url=broker.url))
        try:
            return any((app.control.inspect(timeout=1.0, limit=1).revoked() or {}).values())
        finally:
            app.close()
