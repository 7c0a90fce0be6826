"""Groups of duplicates over HTTP: what the job keeps, and a refusal where it does not keep all."""

from pathlib import Path

import numpy as np
import pytest

from coordinator.jobs.runs.duplicates.run import Asked, duplicates
from shared.settings import Settings
from tests.support.duplicates import vector_job, work_here
from tests.support.http_api import serving


def test_the_groups_that_a_job_keeps_come_in_pages_and_nothing_is_found_out_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 16)).astype(np.float32)
    vectors[1], vectors[4], vectors[5] = vectors[0], vectors[3], vectors[3]
    job = vector_job(tmp_path, vectors)
    with serving(job.path) as running:
        reply = running.http.get("/v1/jobs/job/duplicates")
        assert (reply.status_code, reply.headers["content-type"]) == (409, "application/problem+json")
        assert "search it for duplicates" in reply.json()["detail"]
        assert job.duplicates_files("neighbours") == []

        work_here(monkeypatch)
        found = duplicates(Asked(job, Settings()), lambda event: None)
        told = running.http.get("/v1/jobs/job/duplicates").json()
        assert [group["keep"] for group in told["groups"]] == [group.kept.id for group in found.groups] == [3, 0]
        assert (told["count"], told["next"], told["kind"]) == (2, None, "similar")
        first = running.http.get("/v1/jobs/job/duplicates", params={"limit": 1}).json()
        second = running.http.get("/v1/jobs/job/duplicates", params={"limit": 1, "cursor": first["next"]}).json()
        assert first["groups"] + second["groups"] == told["groups"]
        assert second["next"] is None
        for query in ({"kind": "picture"}, {"kind": "any"}, {"cursor": "x"}, {"similarity": "0.1"}):
            assert running.http.get("/v1/jobs/job/duplicates", params=query).status_code == 422, query
