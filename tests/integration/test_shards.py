"""An index of shards: filled side by side by two merge workers, one of which is killed, and searched and verified as
one."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from coordinator.client.client import Client
from coordinator.client.stored_query import stored_query
from coordinator.jobs.create import make_or_open
from shared.broker.holders import announced
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.answers import ANSWERS_FILE
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.index.shards import shard_file
from shared.job.opened import open_job
from shared.messages.verdicts import SAME_PICTURE, SAME_PIXELS, SIMILAR
from shared.messages.verified import Verify
from shared.settings import Settings
from tests.integration.faults.faults import Faults
from tests.support.controls import UNWATCHED
from tests.support.duplicates import encoded
from tests.support.embedders import AnyModel, embed
from tests.support.images.scenes import scene
from tests.support.make_job import clustered
from tests.support.onnx_files import SIZE, WORDS, means_file, means_of
from tests.support.processes import QUICK, Process, environment, run, wait_until
from workers.merge.build import merge

pytestmark = pytest.mark.timeout(600)

ROWS, DIM = 2_000, 24
WHOLE, CROP = 7, 1_900
"""A row in the first shards whose image is a picture, and one in the last whose image is a crop of it."""


def with_images(folder: Path) -> np.ndarray:
    """Vectors of images, float32 [ROWS, DIM], in folder/vectors.parquet: the crop is not the nearest to the whole."""
    vectors = clustered(ROWS, DIM)
    paths = [str(folder / "other.png")] * ROWS
    whole = scene(1)
    for row, name, picture in ((0, "other", scene(2)), (WHOLE, "whole", whole), (CROP, "crop", whole[60:330, 40:270])):
        (folder / f"{name}.png").write_bytes(encoded(picture))
        paths[row] = str(folder / f"{name}.png")
    near = vectors[WHOLE] / np.linalg.norm(vectors[WHOLE])
    apart = np.random.default_rng(5).normal(size=DIM).astype(np.float32)
    apart -= near * (apart @ near)
    vectors[CROP] = 0.92 * near + np.sqrt(1 - 0.92**2) * apart / np.linalg.norm(apart)
    columns = {"image_path": pa.array(paths), "embedding": pa.array(list(vectors), pa.list_(pa.float32()))}
    pq.write_table(pa.table(columns), folder / "vectors.parquet")
    return vectors


class Quarters(AnyModel):
    """The mean colours of the four quarters of an image, as `means_file` computes them."""

    image_size = SIZE

    def embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        fields = means_of(images / 255).reshape(len(images), -1)
        return (fields / np.linalg.norm(fields, axis=1, keepdims=True)).astype(np.float32)


def pictures_in_shards(folder: Path, jobs_root: Path) -> tuple[JobDir, bytes]:
    """A job of nine pictures in an index of four shards, and a page that shows the last of them small."""
    photos = folder / "pictures"
    photos.mkdir()
    for number in range(9):
        (photos / f"{number}.png").write_bytes(encoded(scene(number)))
    model = means_file(folder / "means.onnx", notes={"lookalike.input": WORDS})
    job = make_or_open(str(photos), JobDir.at(jobs_root / "pictures"), Settings(model=str(model)), lambda count: None)
    embed(job, embedder=Quarters(job.manifest))
    write_index_request(job, IndexRequest(shards=4))
    merge(job, Settings(), UNWATCHED)
    page = np.full((900, 600, 3), 250, np.uint8)
    page[500:860, 20:320] = scene(8)
    return job, encoded(page)


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
    vectors = with_images(tmp_path)
    job = JobDir.at(tmp_path / "jobs" / "job")
    faults = Faults(tmp_path / "faults")
    env = environment(**QUICK, LOOKALIKE_BROKER_URL=broker_url, LOOKALIKE_VERIFY_CANDIDATES="10") | faults.environment()
    roots = ("--jobs-root", job.jobs_root)
    job.jobs_root.mkdir()
    workers = [start("worker", "merge", "--name", name, *roots, env=env) for name in ("one", "two")]
    query = start("worker", "query", *roots, env=env)
    given = ("import", tmp_path / "vectors.parquet", job.path, "--column", "embedding")
    command = (*given, "--index", "ivf-pq", "--recall", "0.9")

    held = faults.on_step("fill_shard", do="wait")
    run_of_two = start(*command, "--shards", "2", "--partition-size", "300", env=env)
    wait_until(lambda: len(set(held.pids)) == 2, "each worker fills a shard")

    def shown_as_filling() -> bool:
        status = json.loads(run("status", job.path, "--json", env=env).stdout)
        assert status["filling"]["full"] == 0
        return {holder["what"] for holder in status["broker"]["holders"]} == {"shard-0", "shard-1"}

    wait_until(shown_as_filling, "both say that they work at it")
    shown = run("status", job.path, env=env).stdout
    assert "at work     shard 0: " in shown
    assert "0 of 2 shards full" in shown
    held.lift()
    assert run_of_two.wait() == 0, run_of_two.output
    assert "in 2 shards" in run_of_two.output
    first = builds.current_info(job)
    assert first is not None
    assert first.recall_queries == 500
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
    assert {path.name for path in job.build_dir(info.build).iterdir()} == {
        *info.files,
        builds.INFO_FILE,
        ANSWERS_FILE,
    }
    taken = sum(line.count("fill_shard") for worker in workers for line in received(worker))
    assert taken > 2 + 8, "the killed shard was given to the other worker"
    with Client(job.path, broker_url) as client:
        after = [client.search(vector, 10) for vector in vectors[:20]]
    assert [hits[0].id for hits in after] == list(range(20))
    assert [hits[0].id for hits in before] == list(range(20))
    search = ("search", job.path, "--vector", tmp_path / "one.npy", "--json")
    np.save(tmp_path / "one.npy", vectors[7])
    views = pictures_in_shards(tmp_path, job.jobs_root)
    by_one = _seen_in_views(*views, broker_url)
    query.popen.terminate()
    parts = [start("worker", "query", "--shards", held, *roots, env=env) for held in ("0-2", "3-")]
    said = known_to(broker_url, {"query.shards-0-2", "query.shards-3-"})
    wait_until(said, "each of the two says what it holds, and the one that held all is forgotten")
    query.wait()
    (found,) = json.loads(run(*search, env=env).stdout)
    assert found["hits"][0]["id"] == 7
    # Each holder looks as far in some shards as one does in all of them: no hit is farther, and one may be nearer.
    for hit, by_one_of_all in zip(found["hits"], after[7], strict=True):
        assert hit["similarity"] >= by_one_of_all.similarity - 1e-6
    assert found["searched"]["shards"]["numbers"] == list(range(8))
    status = run("status", job.path, env=env).stdout
    assert "queries     shards 0-2, shards 3-" in status
    _are_verified_as_one(job, broker_url, env)
    assert _seen_in_views(*views, broker_url) == by_one
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


def _seen_in_views(job: JobDir, page: bytes, broker_url: str) -> list[tuple[object, ...]]:
    """The hits of a page by six views, with place, similarity and verdict: the picture on it is the first."""
    with Client(job.path, broker_url) as client:
        whole, views = (client.search(page, 9, verify="always", views=count, timeout=120) for count in (1, 6))
    assert (views[0].id, views[0].verdict) == (8, SAME_PICTURE)
    assert views[0].similarity > 0.99
    by_whole = {hit.id: hit.similarity for hit in whole}
    assert by_whole[8] < 0.98, "by the page as a whole it is not so near"
    return [(hit.rank, hit.id, round(hit.similarity, 5), hit.verdict) for hit in views]


def _are_verified_as_one(job: JobDir, broker_url: str, env: dict[str, str]) -> None:
    """What is proven by the holders of some shards stands before what is only similar in those of the others."""
    with Client(job.path, broker_url) as client:
        query = stored_query(open_job(job), str(WHOLE))
        always, auto = (
            client.enqueue_queries([query], 8, verify=Verify(how))[0].answer(120) for how in ("always", "auto")
        )
    for answer in (always, auto):
        assert [(hit.id, hit.verdict) for hit in answer.hits[:2]] == [(WHOLE, SAME_PIXELS), (CROP, SAME_PICTURE)]
        assert [hit.rank for hit in answer.hits] == list(range(1, 9))
        others = [hit.similarity for hit in answer.hits[2:]]
        assert others == sorted(others, reverse=True)
        assert others[0] > answer.hits[1].similarity, "so it was not the similarity that put the crop before it"
        assert answer.verified is not None
        assert answer.verified.is_whole
    assert {hit.verdict for hit in always.hits[2:]} == {SIMILAR}
    assert always.verified is not None
    assert always.verified.candidates == 20, "ten by each of the two"
    assert auto.verified is not None
    assert auto.verified.compared < always.verified.compared <= 20
    matched = run("search", job.path, str(WHOLE), "--match", "--json", env=env)
    assert matched.returncode == 0, matched.stderr
    (found,) = json.loads(matched.stdout)
    assert found["found"] is True
    assert [hit["id"] for hit in found["hits"]] == [WHOLE, CROP]
