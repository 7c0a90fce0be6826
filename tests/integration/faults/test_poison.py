"""Images that crash the process that reads them are found, become rows, and do not end the job."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from shared.job.directory import JobDir
from shared.job.partition import ledger
from tests.integration.faults.bench import IMAGES, Bench
from tests.support.processes import environment, run, wait_until

pytestmark = pytest.mark.timeout(600)


def failed_rows(job: JobDir) -> list[tuple[int, str]]:
    return [(row["id"], row["status"]) for row in pq.read_table(job.errors(0)).to_pylist()]


def assert_others_are_untouched(job: JobDir, undisturbed: JobDir, lost: list[int]) -> None:
    kept = np.setdiff1d(np.arange(IMAGES), lost)
    np.testing.assert_array_equal(np.load(job.img_emb(0)), np.load(undisturbed.img_emb(0))[kept])
    assert ledger.check_ids(job, ledger.read_seal(job, 0)).tolist() == kept.tolist()


def test_an_image_that_crashes_its_worker_is_quarantined_and_the_job_goes_on_without_a_coordinator(
    bench: Bench, undisturbed_job: JobDir
) -> None:
    crash = bench.faults.on_file("open-read", "*/photo_00123.jpg", do="abort")
    first, second = bench.ready(bench.begin_worker("embed", name="first"), bench.begin_worker("embed", name="second"))
    bench.ask()
    wait_until(bench.sealed, "the partition is sealed")
    assert failed_rows(bench.job) == [(123, "quarantined")]
    assert "SIGABRT" in pq.read_table(bench.job.errors(0)).to_pylist()[0]["error_message"]
    assert_others_are_untouched(bench.job, undisturbed_job, [123])
    ended = [worker.popen.poll() for worker in (first, second)]
    assert sorted(ended, key=str) == [-6, None], "one worker was lost, not two"
    assert crash.reached == 3, "once in the worker, twice alone"


def test_many_images_that_crash_their_worker_do_not_cost_a_worker_each(
    bench: Bench, photos: Path, undisturbed_job: JobDir
) -> None:
    lost = [3, 4, 60, 61, 62, 100, 235]
    for image in lost:
        bench.faults.on_file("open-read", f"*/photo_{image:05d}.jpg", do="abort")
    job = JobDir.at(bench.job.jobs_root / "own")
    env = environment(LOOKALIKE_CHUNK_SIZE="10", LOOKALIKE_LEASE_SECONDS="2", LOOKALIKE_VISIBILITY_TIMEOUT="5")
    done = run("index", photos, job.path, env=env | bench.faults.environment(light=True))
    assert done.returncode == 0, done.stderr
    assert failed_rows(job) == [(image, "quarantined") for image in lost]
    assert_others_are_untouched(job, undisturbed_job, lost)
    assert 1 <= done.stderr.count("The embed worker ended with signal SIGABRT; started it anew.") <= 3
    assert "233 of 240 images embedded, 7 failed" in done.stderr


def test_doctor_tells_of_an_image_that_crashes_whoever_reads_it_what_index_does(bench: Bench, photos: Path) -> None:
    crash = bench.faults.on_file("open-read", "*/photo_00001.jpg", do="abort")
    env = environment() | bench.faults.environment(light=True)
    done = run("doctor", photos, "--seconds", "200", "--json", env=env, timeout=280)
    found = json.loads(done.stdout)
    assert found["measured"]["failed"] == {"quarantined": 1}
    (example,) = found["measured"]["examples"]
    assert example["path"].endswith("/photo_00001.jpg")
    assert "(signal SIGABRT, signal SIGABRT)" in example["error"]
    assert found["prediction"]["images"] == IMAGES
    assert crash.reached == 3, "once in company, twice alone"
