"""`lookalike import`: killed and run again, then searched by vector through the client."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.client.client import Client
from shared.errors import QueryError
from shared.job.directory import JobDir
from tests.integration.faults.faults import Faults
from tests.support.images.photographs import make_photos
from tests.support.processes import QUICK, Process, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)

ROWS, DIM = 300, 24


@pytest.fixture
def vectors(tmp_path: Path) -> np.ndarray:
    """300 vectors in three files under tmp_path/clip, with metadata; the first has no direction."""
    drawn = np.random.default_rng(7).normal(size=(ROWS, DIM)).astype(np.float32)
    drawn[0] = 0
    for name in ("img_emb", "metadata"):
        (tmp_path / "clip" / name).mkdir(parents=True)
    for number in range(3):
        rows = range(number * 100, number * 100 + 100)
        np.save(tmp_path / "clip" / "img_emb" / f"img_emb_{number}.npy", drawn[rows.start : rows.stop])
        table = pa.table(
            {"image_path": [f"photos/{row}.jpg" for row in rows], "caption": [f"cat {row % 10}" for row in rows]}
        )
        pq.write_table(table, tmp_path / "clip" / "metadata" / f"metadata_{number}.parquet")
    return drawn


def test_an_import_survives_being_killed_and_is_searched_by_vector(
    vectors: np.ndarray, tmp_path: Path, broker_url: str, start: Callable[..., Process]
) -> None:
    job = tmp_path / "jobs" / "clip"
    # Partitions of two vectors: the import takes long enough to be met in the middle.
    options = ("--partition-size", "2", "--broker", broker_url, "--model-name", "ViT-B/32", "--recall", "0.9")
    command = ("import", tmp_path / "clip", job, *options)
    faults = Faults(tmp_path / "faults")
    held = faults.on_file("link", "*/ledger/0003.json", do="wait")
    killed = start(*command, env=environment() | faults.environment())
    wait_until(lambda: held.reached, "three partitions are sealed")
    killed.kill(signal.SIGKILL)
    killed.wait()
    sealed = {path.name: path.stat().st_mtime_ns for path in (job / "ledger").glob("*.json")}
    assert len(sealed) == 3

    held.lift()
    held = faults.on_file("link", "*/ledger/0006.json", do="wait")
    interrupted = start(*command, env=environment() | faults.environment())
    wait_until(lambda: held.reached, "three more are sealed")
    interrupted.kill(signal.SIGTERM)
    held.lift()
    assert interrupted.wait() == 130, interrupted.output
    assert "Go on with:  lookalike import" in interrupted.output
    found = run("verify", job, "--json")
    assert json.loads(found.stdout)["whole"], found.stdout

    start("worker", "merge", "query", "--broker", broker_url, "--jobs-root", job.parent)
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "300 vectors of 24 dimensions" in done.stderr
    assert "299 of 300 vectors imported, 1 failed" in done.stderr
    assert "recall@10 1.000" in done.stderr
    for name, moment in sealed.items():
        assert (job / "ledger" / name).stat().st_mtime_ns == moment
    status = json.loads(run("status", job, "--json", "--broker", broker_url).stdout)
    assert (status["embedded"], status["failed"], status["pending"]) == (299, 1, 0)
    assert status["model"].startswith("ViT-B/32@")
    assert json.loads(run("verify", job, "--json").stdout)["whole"]

    (photo,) = make_photos(tmp_path / "photos", 1)
    with Client(job, broker_url) as client:
        for row in (1, 150, 299):
            hits = client.search(vectors[row] * 3, k=3)
            assert (hits[0].id, hits[0].image_path) == (row, f"photos/{row}.jpg")
            assert hits[0].similarity == pytest.approx(1, abs=1e-3)
        # A column that came with the vectors can be asked for.
        hits = client.search(vectors[150], k=2, where="caption = 'cat 5'")
        assert {hit.id % 10 for hit in hits} == {5}
        with pytest.raises(QueryError, match="imported as vectors"):
            client.search(photo)


def test_an_import_on_one_machine_needs_nothing_running_and_index_leaves_its_job_alone(
    vectors: np.ndarray, tmp_path: Path
) -> None:
    job = tmp_path / "jobs" / "alone"
    done = run("import", tmp_path / "clip" / "img_emb", job)
    assert done.returncode == 0, done.stderr
    assert "index 0001-" in done.stderr
    np.save(tmp_path / "query.npy", vectors[42])
    (answer,) = json.loads(run("search", job, "--vector", tmp_path / "query.npy", "-k", "1", "--json").stdout)
    assert [hit["image_path"] for hit in answer["hits"]] == ["img_emb_0.npy#42"]
    again = run("import", tmp_path / "clip" / "img_emb", job)
    assert again.returncode == 0
    assert "index 0001-" in again.stderr
    refused = run("index", tmp_path / "clip", job)
    assert refused.returncode == 1
    assert "can't be embedded as images are: go on with `lookalike import`" in refused.stderr
    other = run("import", tmp_path / "clip", job)
    assert other.returncode == 1
    assert "are not the same files or columns" in other.stderr
    slip = run("import", tmp_path / "clip", job, "--column", "emb")
    assert slip.returncode == 2
    assert "leave --column out" in slip.stderr


def test_duplicates_on_one_machine_survive_a_killed_worker_and_repeat_nothing(
    vectors: np.ndarray, tmp_path: Path, start: Callable[..., Process]
) -> None:
    vectors[120] = vectors[20]
    vectors[250] = vectors[20] * 2 + 0.01
    np.save(tmp_path / "given.npy", vectors)
    job = JobDir.at(tmp_path / "jobs" / "twice")
    done = run("import", tmp_path / "given.npy", job.path, "--partition-size", "50")
    assert done.returncode == 0, done.stderr
    faults = Faults(tmp_path / "faults")
    held = faults.on_step("commit_neighbours", do="wait", after=3, times=1)
    searching = start("duplicates", job.path, env=environment(**QUICK) | faults.environment(light=True))
    wait_until(lambda: held.reached, "the neighbours of three partitions are there")
    files = {path: path.stat().st_mtime_ns for path in job.duplicates_files("neighbours")}
    assert len(files) == 3
    os.kill(held.pids[0], signal.SIGKILL)
    held.lift()
    assert searching.wait() == 0, searching.output
    assert "The merge worker ended with signal SIGKILL; started it anew." in searching.output
    written = {path: path.stat().st_mtime_ns for path in job.duplicates_files("neighbours")}
    assert len(written) == 6
    assert {path: written[path] for path in files} == files
    again = run("duplicates", job.path, "--json")
    (group,) = json.loads(again.stdout)["groups"]
    assert [image["id"] for image in group["images"]] == [20, 120, 250]
    assert "group 1  ·  3 images" in searching.output
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert json.loads(run("verify", job.path, "--json").stdout)["whole"]
