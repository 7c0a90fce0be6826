"""Workers started by hand behind one broker, as on several machines, used by the commands and by the client."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from coordinator.client.client import Client
from shared.errors import BrokerUnreachable, ImageError, NoIndexYet, NoWorker, QueryError
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.manifest import load_manifest
from shared.job.partition.ledger import read_seal
from tests.integration.faults.bench import is_ready
from tests.integration.faults.faults import Faults
from tests.support.images.photographs import make_photos
from tests.support.onnx_lite0 import LITE0_WORDS, lite0_file
from tests.support.processes import (
    LOOKALIKE,
    PATIENCE_SECONDS,
    Process,
    debian_redis,
    environment,
    free_port,
    redis_server,
    run,
    wait_until,
)

pytestmark = pytest.mark.timeout(600)


class Cluster:
    """Two embed workers, a merge worker and a query worker behind a Debian redis-server, and one finished job."""

    def __init__(self, url: str, root: Path, photos: Path, processes: list[Process], faults: Faults) -> None:
        self.url, self.root, self.photos, self.processes = url, root, photos, processes
        self.job, self.faults = root / "job", faults


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, require: Callable[[object, str], None]) -> Iterator[Cluster]:
    binary = debian_redis()
    require(binary is not None, "redis-server (Debian's package of that name) is not installed")
    assert binary is not None
    base = tmp_path_factory.mktemp("cluster")
    root, photos, port = base / "jobs", base / "photos", free_port()
    root.mkdir()
    make_photos(photos, 160)
    url = f"redis://127.0.0.1:{port}/0"
    faults = Faults(base / "faults")
    env = environment(CELERY_BROKER_URL=url, LOOKALIKE_JOBS_ROOT=str(root)) | faults.environment(light=True)
    with redis_server(binary, base / "redis", port):
        roles = ["embed", "embed", "merge", "query"]
        processes = [
            Process([LOOKALIKE, "worker", role], base / f"{role}{number}.log", env) for number, role in enumerate(roles)
        ]
        try:
            wait_until(lambda: all(map(is_ready, processes[:2])), "both embed workers are ready")
            yield Cluster(url, root, photos, processes, faults)
        finally:
            for process in processes:
                process.popen.terminate()
            for process in processes:
                process.stop()


@pytest.fixture(scope="module")
def indexed(cluster: Cluster) -> Cluster:
    held = cluster.faults.on_step("commit_chunk", do="wait")
    command = ["index", cluster.photos, cluster.job, "--broker", cluster.url, "--partition-size", "40"]
    index = Process(
        [LOOKALIKE, *map(str, command), "--chunk-size", "20"], cluster.root.parent / "index.log", environment()
    )
    try:
        # Neither can have done all before the other is asked.
        wait_until(lambda: len(set(held.pids)) == 2, "both embed workers commit a chunk")
        held.lift()
        assert index.wait() == 0, index.output
    finally:
        index.stop()
    return cluster


@pytest.fixture
def client(indexed: Cluster) -> Iterator[Client]:
    with Client(indexed.job, indexed.url) as client:
        yield client


def test_index_uses_both_embed_workers_and_stops_none(indexed: Cluster) -> None:
    job = JobDir.at(indexed.job)
    assert [read_seal(job, number).embedded for number in job.sealed_numbers()] == [40, 40, 40, 40]
    shares = [process.output.count("succeeded in") for process in indexed.processes[:2]]
    assert sum(shares) >= 4
    assert all(shares), "one of the two embed workers did nothing"
    assert all(process.popen.poll() is None for process in indexed.processes)


def test_search_command_goes_through_the_running_query_worker(indexed: Cluster) -> None:
    query = indexed.photos / "photo_00011.jpg"
    done = run("search", indexed.job, query, "--broker", indexed.url, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["hits"][0]["image_path"] == str(query)


def test_client_takes_a_path_bytes_an_array_and_a_vector(client: Client, indexed: Cluster) -> None:
    path = indexed.photos / "photo_00021.jpg"
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert array is not None
    stored = np.load(indexed.job / "img_emb" / "img_emb_0000.npy")
    for query in (path, str(path), path.read_bytes(), array, stored[21].astype(np.float32)):
        best, *others = client.search(query, k=5)
        assert (best.rank, best.id, best.image_path) == (1, 21, str(path))
        assert best.similarity > 0.999
        assert [hit.rank for hit in others] == [2, 3, 4, 5]
        assert all(hit.similarity < best.similarity for hit in others)


def test_exact_search_gives_the_brute_force_answer(client: Client, indexed: Cluster) -> None:
    stored = np.concatenate([np.load(path) for path in sorted((indexed.job / "img_emb").iterdir())]).astype(np.float32)
    query = stored[3] + 0.2 * stored[77]
    cosines = stored @ (query / np.linalg.norm(query))
    hits = client.search(query, k=10, exact=True)
    assert [hit.id for hit in hits] == np.argsort(-cosines, kind="stable")[:10].tolist()
    assert np.allclose([hit.similarity for hit in hits], np.sort(cosines)[::-1][:10], atol=1e-3)


def test_enqueue_answers_many_queries_in_order_and_each_bad_one_with_its_own_error(
    client: Client, indexed: Cluster
) -> None:
    paths = [indexed.photos / f"photo_{number:05d}.jpg" for number in range(100)]
    queries: list[object] = [*paths]
    queries.insert(50, b"these bytes are no image")
    queries.insert(70, np.zeros(1280, dtype=np.float32))
    queries.insert(90, np.ones(7, dtype=np.float32))
    replies = client.enqueue(queries, k=1)  # type: ignore[arg-type]
    for place, kind in ((50, ImageError), (70, QueryError), (90, QueryError)):
        with pytest.raises(kind):
            replies[place].result(timeout=PATIENCE_SECONDS)
    found = [
        reply.result(timeout=PATIENCE_SECONDS)[0].id for place, reply in enumerate(replies) if place not in (50, 70, 90)
    ]
    assert found == list(range(100))


def test_the_same_workers_serve_a_job_whose_model_is_an_onnx_file(cluster: Cluster, tmp_path: Path) -> None:
    job, model = cluster.root / "onnx", lite0_file(tmp_path / "lite0.onnx")
    source, asked = cluster.photos / "photo_000[0-3]*.jpg", ["--model", str(model), "--broker", cluster.url]
    done = run("index", source, job, *asked, "--model-input", "RGB")
    assert (done.returncode, job.exists()) == (1, False)
    assert "does not say how the values of 0 to 255 are scaled" in done.stderr
    done = run("index", source, job, *asked, "--model-input", LITE0_WORDS)
    assert done.returncode == 0, done.stderr
    assert "model onnx@" in done.stderr
    model.unlink()  # The job has a copy.
    query = cluster.photos / "photo_00011.jpg"
    found = run("search", job, query, "--broker", cluster.url, "-k", "3", "--json")
    assert found.returncode == 0, found.stderr
    (answer,) = json.loads(found.stdout)
    assert answer["hits"][0]["image_path"] == str(query)
    assert answer["hits"][0]["similarity"] > 0.999
    manifest = load_manifest(JobDir.at(job))
    assert (manifest.model.name, manifest.model.dim) == ("onnx", 1280)
    info = builds.current_info(JobDir.at(job))
    assert info is not None
    assert (info.ntotal, info.accuracy_copies > 0) == (40, True)
    again = run("index", source, job, "--broker", cluster.url, "--model-input", "BGR scale=1/128 mean=0.9921875")
    assert again.returncode == 1
    assert "Leave --model-input out" in again.stderr
    assert all(process.popen.poll() is None for process in cluster.processes)


def test_a_job_of_which_nothing_is_embedded_says_so(indexed: Cluster) -> None:
    bare = JobDir.at(indexed.root / "bare")
    bare.path.mkdir()
    bare.spec.write_bytes(JobDir.at(indexed.job).spec.read_bytes())
    assert load_manifest(bare).listed == 160
    said = "no index yet, and nothing of it is embedded: 0 of 160 images: indexing embeds them"
    with Client("bare", indexed.url) as client, pytest.raises(NoIndexYet, match=said):
        client.search(np.ones(1280, dtype=np.float32), timeout=PATIENCE_SECONDS)


def test_messages_that_make_no_sense_are_answered_and_the_worker_lives(client: Client, indexed: Cluster) -> None:
    app = client._app
    for table in (
        ["no", "object"],
        {"version": 99},
        {"version": 1, "job": "../etc", "k": 1, "exact": False, "queries": []},
    ):
        reply = app.send_task("lookalike.search", args=[table]).get(timeout=PATIENCE_SECONDS)
        assert reply["answers"][0]["error"]["kind"] == "MessageError"
    assert client.search(indexed.photos / "photo_00001.jpg", k=1)[0].id == 1


def test_no_worker_and_no_broker_are_told_apart(broker_url: str, indexed: Cluster) -> None:
    with Client(indexed.job, broker_url) as alone, pytest.raises(NoWorker, match="start one with a query worker"):
        alone.search(np.ones(1280, dtype=np.float32), timeout=PATIENCE_SECONDS)
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1"):
        Client(indexed.job, f"redis://127.0.0.1:{free_port()}/0")


def test_a_newer_index_is_noticed_by_the_running_query_worker(indexed: Cluster) -> None:
    photos = indexed.root.parent / "more"
    make_photos(photos, 30)
    job = indexed.root / "rebuilt"
    arguments = ("index", photos, job, "--broker", indexed.url)
    assert run(*arguments).returncode == 0
    with Client(job, indexed.url) as client:
        assert client.search(photos / "photo_00005.jpg", k=1)[0].id == 5
        first = JobDir.at(job).current.read_text()
        # Seal the partition again with one image less: the next merge builds another index.
        JobDir.at(job).seal(0).unlink()
        (photos / "photo_00005.jpg").unlink()
        assert run(*arguments).returncode == 0
        assert JobDir.at(job).current.read_text() != first
        wait_until(lambda: client.search(np.ones(1280, dtype=np.float32), k=30).__len__() == 29, "the new one serves")


def test_ctrl_c_of_the_coordinator_leaves_the_workers_at_work(cluster: Cluster, tmp_path: Path) -> None:
    job = cluster.root / "left"
    held = cluster.faults.on_step("commit_chunk", do="wait", after=1)
    coordinator = Process(
        [LOOKALIKE, "index", str(cluster.photos), str(job), "--chunk-size", "10"],
        tmp_path / "index.log",
        environment(CELERY_BROKER_URL=cluster.url),
    )
    made = JobDir.at(job)
    wait_until(lambda: held.reached, "a chunk is committed, and the next is about to be")
    coordinator.kill(2)
    assert coordinator.wait() == 130
    assert made.chunk_numbers(0) == [0]
    held.lift()
    # No one watches any more, and still the last embed worker asks for the merge.
    wait_until(made.current.is_file, "the index is built without a coordinator")


def test_worker_command_refuses_a_jobs_root_that_is_not_there(cluster: Cluster) -> None:
    done = subprocess.run(
        [LOOKALIKE, "worker", "embed", "--broker", cluster.url, "--jobs-root", str(cluster.root / "nowhere")],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 2
    assert "nowhere" in done.stderr
