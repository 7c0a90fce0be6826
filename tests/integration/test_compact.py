"""`lookalike compact`: a query worker that is running answers before, meanwhile and afterwards alike."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from coordinator.client.client import Client
from shared.job.altered_copies import none_of, write_copies
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.opened import open_job
from shared.job.partition import ledger
from tests.integration.faults.bench import is_ready
from tests.integration.faults.faults import Faults
from tests.support.compactions import remove, traces
from tests.support.processes import Process, environment, run, wait_until
from tests.support.source_jobs import all_paths, job_of_a_list

pytestmark = pytest.mark.timeout(600)


def test_a_worker_that_runs_answers_alike_while_a_job_is_compacted_and_killed_and_indexed_again(
    broker_url: str, tmp_path: Path, start: Callable[..., Process]
) -> None:
    (tmp_path / "jobs").mkdir()
    job = job_of_a_list(tmp_path / "jobs", index=True)
    # The images are made up, so no copies of them can be.
    digest = builds.ledger_digest(ledger.sealed(job))
    write_copies(job, none_of(job.manifest.model.fingerprint, digest, 0, "The images are made up."))
    query = np.load(job.img_emb(0))[16]  # Of 17: the image 3 failed.
    path = all_paths(job)[17]
    env = environment(CELERY_BROKER_URL=broker_url, LOOKALIKE_JOBS_ROOT=str(job.jobs_root))
    worker = start("worker", "query", "merge", "--loglevel", "INFO", env=env)
    wait_until(lambda: is_ready(worker), "the worker is ready")

    with Client(job.path, broker_url) as client:

        def answers() -> list[tuple[int, str, float]]:
            hits = [hit for exact in (False, True) for hit in client.search(query.astype(np.float32), 12, exact=exact)]
            return [(hit.id, hit.image_path, hit.similarity) for hit in hits]

        assert answers()[0][0] == 17
        remove(job, 17, 24, 30, *range(50, 56))
        before = answers()
        assert 17 not in [image for image, _, _ in before]
        faults = Faults(tmp_path / "faults")
        faults.on_step("remove_replaced", do="kill", after=1)  # What an earlier one left is removed before.
        asked = ("compact", str(job.path), "--broker", broker_url)
        killed = start(*asked, env=environment() | faults.environment())
        assert killed.wait() == -signal.SIGKILL, killed.output
        assert open_job(job).state.number == 2
        assert answers() == before
        done = run(*asked)
        assert done.returncode == 0, done.stderr
        assert answers() == before

    assert traces(JobDir(job.path), path, query) == []
    verified = json.loads(run("verify", job.path, "--json").stdout)
    assert (verified["whole"], verified["findings"]) == (True, [])
    assert worker.popen.poll() is None
