"""Two jobs of one name under two jobs roots, and the workers of one root or of both behind one broker."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import redis

from coordinator.client.client import Client
from shared.errors import AnotherJob
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.messages.tasks import EMBED_QUEUE
from tests.integration.faults.bench import is_ready
from tests.integration.faults.faults import Faults, light_model
from tests.support.images.photographs import make_photos
from tests.support.processes import QUICK, Process, environment, run, wait_until

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


def two_folders(base: Path, first: int, second: int) -> tuple[Path, Path]:
    """Two folders of so many photographs, none like another, of which both call theirs 0.jpg, 1.jpg and so on."""
    folders = base / "photos-a", base / "photos-b"
    made = iter(make_photos(base / "made", first + second))
    for folder, count in zip(folders, (first, second), strict=True):
        folder.mkdir()
        for number in range(count):
            next(made).rename(folder / f"{number}.jpg")
    return folders


def test_two_jobs_of_one_name_indexed_at_once_behind_one_broker_each_end_with_their_own_rows(
    broker_url: str, tmp_path: Path, start: Start
) -> None:
    counts = 60, 45
    folders = two_folders(tmp_path, *counts)
    jobs = tmp_path / "a" / "pics", tmp_path / "b" / "pics"
    faults = Faults(tmp_path / "faults")
    light = environment(**QUICK) | faults.environment(light=True)
    held = faults.on_file("link", "*/chunks/*", do="wait")
    coordinators = []
    with redis.Redis.from_url(broker_url) as client:
        for waiting, folder, job in zip((4, 7), folders, jobs, strict=True):
            job.parent.mkdir()
            sizes = "--partition-size", "15", "--chunk-size", "5"
            coordinators.append(start("index", folder, job, *sizes, "--broker", broker_url, env=light))
            wait_until(
                lambda waiting=waiting: client.llen(EMBED_QUEUE) == waiting, f"{waiting} partitions were asked for"
            )
    # The first four are of one job, and each worker stays with the first that is its own: the second surely takes
    # another's. By then the first holds one of its job, whose coordinator would else give up on a worker that refuses.
    workers = []
    for number, job in enumerate(jobs, start=1):
        roles = "worker", "embed", "merge", "--broker", broker_url, "--jobs-root", job.parent, "--loglevel", "INFO"
        workers.append(start(*roles, env=light))
        wait_until(lambda number=number: held.reached == number, "the worker is about to commit a chunk of its own job")
    wait_until(lambda: "is not the one at" in workers[1].output, "one was asked for a partition of the other job")
    held.lift()
    assert [coordinator.wait() for coordinator in coordinators] == [0, 0], coordinators[0].output

    for folder, count, directory in zip(folders, counts, jobs, strict=True):
        made = JobDir.at(directory)
        made = open_job(made)
        seals = [ledger.read_seal(made, number) for number in range(made.partition_count)]
        assert (sum(seal.embedded for seal in seals), sum(seal.failed for seal in seals)) == (count, 0)
        tables = [pq.read_table(made.metadata(number)) for number in range(made.partition_count)]
        rows = [path for table in tables for path in table["image_path"].to_pylist()]
        assert sorted(rows) == sorted(map(str, folder.iterdir()))
        found = run("search", made.path, folder / "3.jpg", "-k", "1000", "--json", env=light)
        assert found.returncode == 0, found.stderr
        hits = json.loads(found.stdout)[0]["hits"]
        assert hits[0]["image_path"] == str(folder / "3.jpg")
        assert sorted(hit["image_path"] for hit in hits) == sorted(rows)
        assert run("verify", made.path, env=light).returncode == 0
    for process in (*coordinators, *workers):
        assert "Traceback" not in process.output, process.output


def test_a_job_that_only_workers_of_another_root_could_take_ends_with_who_refused_it_and_goes_on_with_its_own(
    broker_url: str, tmp_path: Path, start: Start
) -> None:
    folders = two_folders(tmp_path, 20, 20)
    mine, other = tmp_path / "a" / "pics", tmp_path / "b" / "pics"
    light = environment(**QUICK) | light_model()
    coordinators = {}
    for folder, job in zip(folders, (mine, other), strict=True):
        job.parent.mkdir()
        coordinators[job] = start("index", folder, job, "--broker", broker_url, env=light)
    roles = "embed", "merge", "--broker", broker_url
    start("worker", *roles, "--jobs-root", mine.parent, "--name", "of-a", env=light)
    assert (coordinators[mine].wait(), coordinators[other].wait()) == (0, 1)
    refused = " ".join(coordinators[other].output.split())
    assert "No worker can go on with" in refused
    assert f"of-a@{platform.node()}: The job pics that was asked for is not the one at {mine}" in refused
    assert "give each root a database number of its own" in refused
    assert not JobDir.at(other).sealed_numbers()

    worker = start("worker", *roles, "--jobs-root", other.parent, "--name", "of-b", env=light)
    wait_until(lambda: is_ready(worker), "the worker is ready")  # The other could refuse three times until it is.
    again = run("index", folders[1], other, "--broker", broker_url, env=light)
    assert again.returncode == 0, again.stderr
    assert ledger.read_seal(JobDir.at(other), 0).embedded == 20
    assert set(pq.read_table(JobDir.at(other).metadata(0))["image_path"].to_pylist()) == {
        str(path) for path in folders[1].iterdir()
    }
