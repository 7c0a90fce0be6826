"""The events of a job, and the metrics of the server."""

import json
from pathlib import Path
from typing import Any

import anyio

from coordinator.serve.endpoints.events import events
from tests.support.http_api import serving
from tests.support.make_job import commit_chunks, make_job


def test_events_tell_how_far_a_job_is_whenever_that_changed_until_the_server_ends(tmp_path: Path) -> None:
    made = make_job(tmp_path / "photos", sealed=[0])
    with serving(tmp_path / "photos") as running:
        told: list[dict[str, int]] = []

        async def follow() -> None:
            request = type("Request", (), {"path_params": {"job": "photos"}})()
            reply: Any = await events(running.api, request)
            assert reply.media_type == "text/event-stream"
            async for part in reply.body_iterator:
                for line in str(part).splitlines():
                    if line.startswith("data: "):
                        told.append(json.loads(line.removeprefix("data: ")))
                        await anyio.to_thread.run_sync(more)

        def more() -> None:
            if len(told) == 1:
                assert running.api.streams.open == 1
                chunks = made.job.chunks(made.job.partition(1))
                commit_chunks(made.job, made.embeddings, chunks[0])
            else:
                running.api.streams.are_ending = lambda: True

        anyio.run(follow)
        assert [one["embedded"] for one in told] == [25, 35]
        assert running.api.streams.open == 0


def test_events_of_no_job_and_more_streams_than_there_may_be_are_refused(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    with serving(tmp_path / "photos") as running:
        assert running.http.get("/v1/jobs/other/events").status_code == 404
        running.api.streams.open = 64
        reply = running.http.get("/v1/jobs/photos/events")
        assert (reply.status_code, reply.headers["retry-after"]) == (429, "2")


def test_metrics_count_answers_by_operation_and_status(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    with serving(tmp_path / "photos") as running:
        running.http.post("/v1/jobs/photos/search", json={"vector": [1]})
        running.http.post("/v1/jobs/other/search", json={"vector": [1]})
        running.http.get("/nowhere/at/all")
        running.http.get("/healthz", headers={"Host": "evil.example"})
        reply = running.http.get("/metrics")
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = reply.text.splitlines()
        assert 'lookalike_http_answers_total{operation="search",status="200"} 1.0' in lines
        assert 'lookalike_http_answers_total{operation="search",status="404"} 1.0' in lines
        assert 'lookalike_http_answers_total{operation="none",status="404"} 1.0' in lines
        assert 'lookalike_http_answers_total{operation="none",status="400"} 1.0' in lines
        assert 'lookalike_http_seconds_count{operation="search"} 2.0' in lines
        assert "lookalike_http_searches 0.0" in lines
        assert "nowhere" not in reply.text
