"""`lookalike delete`: a query worker that is running leaves out what was removed from its next query on."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lookalike
from coordinator.client.client import Client
from tests.integration.faults.bench import is_ready
from tests.integration.faults.faults import Faults
from tests.support.processes import Process, environment, run, wait_until
from tests.support.source_jobs import job_of_a_list

pytestmark = pytest.mark.timeout(600)

K = 10


def test_what_is_deleted_is_in_no_answer_of_a_worker_that_runs_and_k_hits_stay_k(
    broker_url: str, tmp_path: Path, start: Callable[..., Process]
) -> None:
    (tmp_path / "jobs").mkdir()
    job = job_of_a_list(tmp_path / "jobs", index=True).path
    query = np.load(job / "img_emb" / "img_emb_0000.npy")[16].astype(np.float32)  # Of 17: the image 3 failed.
    np.save(tmp_path / "query.npy", query)
    env = environment(CELERY_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(job.parent))
    worker = start("worker", "query", "--loglevel", "INFO", env=env)
    wait_until(lambda: is_ready(worker), "the worker is ready")

    with Client(job, broker_url) as client:
        before = client.search(query, K + 5)
        assert before[0].id == 17
        first, third = before[0].id, before[2].id

        for step in ("write_manifest", "write_change", "commit_change"):
            faults = Faults(tmp_path / step)
            faults.on_step(step, do="kill")
            killed = start("delete", job, str(first), env=environment() | faults.environment())
            assert killed.wait() == -signal.SIGKILL, killed.output
            assert client.search(query, K + 5) == before, step

        done = run("delete", job, str(first), before[1].image_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "2 images removed: no answer names them any more. 58 of 60 are left.\n"
        for exact in (False, True):
            hits = client.search(query, K, exact=exact)
            assert [hit.id for hit in hits] == [hit.id for hit in before[2 : K + 2]]

        assert lookalike.open(job).delete([third]) == 1
        assert [hit.id for hit in client.search(query, K)] == [hit.id for hit in before[3 : K + 3]]

        done = run("delete", job, "--where", f"id = {before[3].id} or id = {first}")
        assert done.stdout == "1 image removed: no answer names it any more. 56 of 60 are left.\n", done.stderr
        assert [hit.id for hit in client.search(query, K)] == [hit.id for hit in before[4 : K + 4]]

    searched = run("search", job, "--vector", tmp_path / "query.npy", "-k", str(K), "--json", "--broker", broker_url)
    assert [hit["id"] for hit in json.loads(searched.stdout)[0]["hits"]] == [hit.id for hit in before[4 : K + 4]]
    refused = run("search", job, str(first), "--broker", broker_url)
    assert refused.returncode == 1
    assert f"The image {first} of {job} was removed (change 1, delete," in " ".join(refused.stderr.split())
    verified = json.loads(run("verify", job, "--json").stdout)
    # The ids of the one that was killed last, which nothing names.
    assert (verified["whole"], [finding["kind"] for finding in verified["findings"]]) == (True, ["left over"])
    assert worker.popen.poll() is None
