"""Two jobs of one name under two jobs roots, and the workers of one root or of both behind one broker."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coordinator.client import Client
from shared.errors import AnotherJob
from shared.jobdir import JobDir
from tests.integration.faults.bench import is_ready
from tests.integration.processes import Process, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)

Start = Callable[..., Process]


def imported(job: Path, seed: int) -> np.ndarray:
    """Make a job of 40 drawn vectors, float32 [40, 8], through an embedded broker."""
    vectors = np.random.default_rng(seed).normal(size=(40, 8)).astype(np.float32)
    source = job.parent.parent / f"{job.parent.name}.npy"
    np.save(source, vectors)
    done = run("import", source, job)
    assert done.returncode == 0, done.stderr
    return vectors


def worker(start: Start, url: str, root: Path, *roles: str) -> Process:
    env = environment(CELERY_BROKER_URL=url, LOOKALIKE_JOBS_ROOT=str(root))
    process = start("worker", *roles, "--loglevel", "INFO", env=env)
    wait_until(lambda: is_ready(process), "the worker is ready")
    return process


def test_a_worker_of_another_root_gives_no_hits_of_its_job_of_that_name(
    broker_url: str, tmp_path: Path, start: Start
) -> None:
    mine, other = tmp_path / "a" / "pics", tmp_path / "b" / "pics"
    imported(mine, 1)
    vectors = imported(other, 2)
    query = tmp_path / "query.npy"
    np.save(query, vectors[7])
    worker(start, broker_url, other.parent, "query")

    refused = run("search", mine, "--vector", query, "--broker", broker_url, "--json")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"is not the one at {other}" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
    with Client(mine, broker_url) as client, pytest.raises(AnotherJob, match="a database number of its own"):
        client.search(vectors[7])

    found = run("search", other, "--vector", query, "--broker", broker_url, "--json")
    assert (found.returncode, found.stderr.count("any of its name")) == (0, 0), found.stderr
    (answer,) = json.loads(found.stdout)
    assert (answer["hits"][0]["id"], answer["answered_by"]["job"]) == (7, str(JobDir.at(other).path))

    by_name = run("search", tmp_path / "nowhere" / "pics", "--vector", query, "--broker", broker_url, "--json")
    assert by_name.returncode == 0
    assert f"any of its name could answer: {other} (by " in " ".join(by_name.stderr.split())
    with Client("pics", broker_url) as client:
        (reply,) = client.enqueue([vectors[7]], k=1)
        assert reply.result()[0].id == 7
        assert reply.answered_by is not None
        assert reply.answered_by.job == str(other)
