"""An index of shards: filled side by side by two merge workers, one of which is killed, and searched as one."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis

from coordinator.client.client import Client
from shared.broker.holders import announced
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.shards import shard_file
from tests.integration.faults.faults import Faults
from tests.support.make_job import clustered
from tests.support.processes import QUICK, Process, environment, run, wait_until

pytestmark = pytest.mark.timeout(600)

ROWS, DIM = 2_000, 24


def received(worker: Process) -> list[str]:
    """The lines of a worker's log about the tasks that it took."""
    return [line for line in worker.output.splitlines() if "received" in line]


def known_to(broker_url: str, queues: set[str]) -> Callable[[], bool]:
    """Whether these are the queues of queries that the broker knows workers for."""
    client = redis.Redis.from_url(broker_url, decode_responses=True)
    return lambda: set(announced(client)) == queues


def test_shards_are_filled_side_by_side_and_a_killed_one_is_filled_again_alone(
    tmp_path: Path, broker_url: str, start: Callable[..., Process]
) -> None:
    vectors = clustered(ROWS, DIM)
    np.save(tmp_path / "vectors.npy", vectors)
    job = JobDir.at(tmp_path / "jobs" / "job")
    faults = Faults(tmp_path / "faults")
    env = environment(**QUICK, LOOKALIKE_BROKER_URL=broker_url) | faults.environment()
    roots = ("--jobs-root", job.jobs_root)
    job.jobs_root.mkdir()
    workers = [start("worker", "merge", "--name", name, *roots, env=env) for name in ("one", "two")]
    query = start("worker", "query", *roots, env=env)
    command = ("import", tmp_path / "vectors.npy", job.path, "--index", "ivf-pq", "--recall", "0.9")

    held = faults.on_step("fill_shard", do="wait")
    run_of_two = start(*command, "--shards", "2", "--partition-size", "300", env=env)
    wait_until(lambda: len(set(held.pids)) == 2, "each worker fills a shard")
    status = json.loads(run("status", job.path, "--json", env=env).stdout)
    assert {holder["what"] for holder in status["broker"]["holders"]} == {"shard-0", "shard-1"}
    assert status["filling"]["full"] == 0
    shown = run("status", job.path, env=env).stdout
    assert "at work     shard 0: " in shown
    assert "0 of 2 shards full" in shown
    held.lift()
    assert run_of_two.wait() == 0, run_of_two.output
    assert "in 2 shards" in run_of_two.output
    first = builds.current_info(job)
    assert first is not None
    with Client(job.path, broker_url) as client:
        before = [client.search(vector, 5, timeout=120) for vector in vectors[:20]]

    killed = faults.on_step("add_to_index", do="kill", after=3, times=1)
    run_of_eight = start(*command, "--shards", "8", env=env)
    wait_until(lambda: killed.reached, "a worker is killed while it fills a shard")
    gone = next(worker for worker in workers if worker.popen.pid == killed.pids[0])
    gone.wait()
    assert run_of_eight.wait() == 0, run_of_eight.output
    info = builds.current_info(job)
    assert info is not None
    assert [name for name in info.files if name != builds.IMAGES_FILE] == [shard_file(number) for number in range(8)]
    assert {path.name for path in job.build_dir(info.build).iterdir()} == {*info.files, builds.INFO_FILE}
    taken = sum(line.count("fill_shard") for worker in workers for line in received(worker))
    assert taken > 2 + 8, "the killed shard was given to the other worker"
    with Client(job.path, broker_url) as client:
        after = [client.search(vector, 5) for vector in vectors[:20]]
    assert [hits[0].id for hits in after] == list(range(20))
    assert [hits[0].id for hits in before] == list(range(20))
    query.popen.terminate()
    search = ("search", job.path, "--vector", tmp_path / "one.npy", "--json")
    np.save(tmp_path / "one.npy", vectors[7])
    parts = [start("worker", "query", "--shards", held, *roots, env=env) for held in ("0-2", "3-")]
    said = known_to(broker_url, {"query.shards-0-2", "query.shards-3-"})
    wait_until(said, "each of the two says what it holds, and the one that held all is forgotten")
    query.wait()
    (found,) = json.loads(run(*search, env=env).stdout)
    assert [hit["id"] for hit in found["hits"]][:5] == [hit.id for hit in after[7]]
    assert found["searched"]["shards"]["numbers"] == list(range(8))
    status = run("status", job.path, env=env).stdout
    assert "queries     shards 0-2, shards 3-" in status
    parts[1].kill()
    alone = run(*search, env=env)
    assert alone.returncode == 1
    assert "holds the shards 3-7 of the 8" in alone.stderr
    assert "lookalike worker query --shards 3-7" in alone.stderr
    partial = run(*search, "--partial", env=env)
    assert partial.returncode == 0, partial.stderr
    assert "Searched the shards 0-2 of 8" in partial.stderr
    (found,) = json.loads(partial.stdout)
    assert (found["hits"][0]["id"], found["searched"]["share"]) == (7, 0.375)
    assert json.loads(run("verify", job.path, "--json").stdout)["whole"]
    assert run("rollback", job.path, first.build, env=env).returncode == 0
    assert len(builds.current_info(job).shards) == 2  # type: ignore[union-attr]
    (found,) = json.loads(run(*search, env=env).stdout)
    assert (found["hits"][0]["id"], found["searched"]["shards"]["numbers"]) == (7, [0, 1])
    assert found["searched"]["share"] == 1
