"""A job in a store, memory:// here: what its files are, and what verify and repair make of them."""

import gc
import json
import socket
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from coordinator.commands.services import workers as services
from coordinator.integrity.findings import Checked, Kind
from coordinator.integrity.repair import repair
from coordinator.integrity.verify import verify
from coordinator.jobs.changes import compaction
from coordinator.jobs.create import make_or_open
from coordinator.jobs.from_vectors import import_vectors
from coordinator.jobs.progress import ProgressReader
from coordinator.jobs.rollback import rollback
from coordinator.local import broker
from coordinator.local.broker import runtime_directory
from coordinator.sources.listing import PathDigest
from coordinator.sources.vectors.vectors import open_vectors
from shared.errors import CorruptFile, JobBusy, ModelError, SettingsError, StoreError
from shared.job.changes.lock import creation_lock, store_lock
from shared.job.directory import JobDir
from shared.job.index import builds
from shared.job.index.builds import IndexInfo
from shared.job.index.request import IndexRequest, write_index_request
from shared.job.local.job_files import JobFiles
from shared.job.manifest import load_manifest, write_manifest
from shared.job.opened import OpenJob, open_job
from shared.job.partition import checkpoint, ledger
from shared.messages.filter import Filter
from shared.models import ModelSpec
from shared.processes.control import Control
from shared.settings import Settings, load_settings
from shared.storage import files
from shared.storage.stores import StorePath, any_path
from tests.support.compactions import answers, compacted, remove
from tests.support.controls import UNWATCHED, yes
from tests.support.make_job import MadeJob, image_path, make_job
from tests.support.onnx_files import WORDS, means_file
from workers.embed.attempts import Attempt
from workers.evaluate import altered_copies
from workers.evaluate.report import evaluate
from workers.merge import directories
from workers.merge.build import merge
from workers.merge.progress import MergeControl, MergeProgress
from workers.models import loaded
from workers.search.pool import SearcherPool
from workers.search.searcher import Searcher
from workers.vectors.ann import training

pytestmark = pytest.mark.slow


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}/photos"


def whole_job(url: str, **options: Any) -> MadeJob:
    """A made job whose manifest has the digest of its path lists, as one that was made from images has."""
    made = make_job(url, **options)
    digest = PathDigest()
    for _ in digest.feed(image_path(image) for image in range(made.job.listed)):
        pass
    source = replace(made.job.manifest.source, digest=digest.hexdigest())
    write_manifest(made.job, replace(made.job.manifest, source=source))
    return replace(made, job=open_job(made.job))


def flip(path: Path) -> None:
    """Change one bit in the middle of a file, in a store or not."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    files.write_bytes(path, bytes(data))


def names(job: JobDir) -> dict[str, bool]:
    return {path.relative_to(job.path).as_posix(): ours for path, ours in job.files()}


def test_a_job_in_a_store_has_the_files_of_one_on_a_disk(url: str, tmp_path: Path) -> None:
    there, here = make_job(url, failed=(3,)).job, make_job(tmp_path / "photos", failed=(3,)).job
    assert names(there) == names(here)
    assert all(names(there).values())
    for name in names(here):
        if not name.startswith(("ledger/", "job.json")):
            assert (there.path / name).read_bytes() == (here.path / name).read_bytes(), name
    assert [seal.files for seal in ledger.sealed(there)] == [seal.files for seal in ledger.sealed(here)]
    assert builds.ledger_digest(ledger.sealed(there)) == builds.ledger_digest(ledger.sealed(here))


def test_progress_is_read_from_the_store(url: str) -> None:
    made = make_job(url, sealed=(0,), listed=75)
    chunk = made.job.chunks(made.job.partition(1))[0]
    _copy_chunk(url, made.job, 1, 0)
    progress = ProgressReader(made.job).read()
    assert progress.partitions == {"sealed": 1, "started": 1, "waiting": 1}
    assert progress.embedded == 25 + len(chunk)
    assert progress.job == url


def _copy_chunk(url: str, job: OpenJob, partition: int, chunk: int) -> None:
    """Commit one chunk of a partition that another job, which never sealed it, gives."""
    other = make_job(f"{url}-other", listed=75, sealed=()).job
    wanted = other.chunks(other.partition(partition))[chunk]
    rows = [
        checkpoint.ImageRow(image, f"{image}.jpg", 1, 1, 1, None, "ok", None)
        for image in range(wanted.start, wanted.stop)
    ]
    embeddings = np.eye(len(rows), 16, dtype=np.float16)
    checkpoint.commit_chunk(job, wanted, rows, embeddings, 1.0)


def test_the_first_of_two_commits_of_a_chunk_stays(url: str) -> None:
    job = make_job(url, listed=75, sealed=()).job
    _copy_chunk(url, job, 0, 0)
    before = job.chunk(0, 0).read_bytes()
    _copy_chunk(url, job, 0, 0)  # Its summary has another time.
    assert job.chunk(0, 0).read_bytes() == before
    assert job.chunk_numbers(0) == [0]
    assert len(checkpoint.missing_chunks(open_job(job), load_manifest(job).partition(0))) == 2


def test_a_whole_job_in_a_store_is_found_whole(url: str) -> None:
    job, checked = whole_job(url).job, Checked()
    assert list(verify(job, checked)) == []
    assert checked.files == len(names(job))


def test_repair_takes_back_what_is_damaged_in_a_store(url: str) -> None:
    job = whole_job(url, listed=75).job
    flip(job.metadata(1))
    job.errors(2).unlink()
    files.write_bytes(job.path / "notes.txt", b"mine\n")
    found = {finding.path: finding.kind for finding in verify(job, Checked())}
    assert found == {
        "metadata/metadata_0001.parquet": Kind.DAMAGE,
        "errors/errors_0002.parquet": Kind.DAMAGE,
        ".": Kind.FOREIGN,
    }
    outcomes = list(repair(job, Checked()))
    assert [outcome.mended for outcome in outcomes] == [True, True, False]
    assert job.sealed_numbers() == [0]
    assert job.sealed_file_numbers() == [0]
    assert [finding.kind for finding in verify(job, Checked())] == [Kind.FOREIGN]
    assert (job.path / "notes.txt").is_file()


def test_repair_removes_the_chunks_that_a_seal_should_have_taken_along(url: str) -> None:
    job = whole_job(url, listed=75).job
    _copy_chunk(url, job, 0, 0)
    flip(job.paths(2))
    assert {finding.path: finding.kind for finding in verify(job, Checked())} == {
        "paths/paths_0002.parquet": Kind.DAMAGE,
        "chunks/0000": Kind.LEFTOVER,
    }
    assert all(outcome.mended for outcome in repair(job, Checked()))
    assert list(verify(job, Checked())) == []
    assert job.chunk_partitions() == []


def test_a_job_is_made_in_a_store_once(url: str, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    job = JobDir.at(url)
    job = make_or_open(str(tmp_path), job, Settings(), lambda count: None)
    assert job.listed == 2
    assert names(job) == {"job.json": True, "paths/paths_0000.parquet": True}
    assert make_or_open(str(tmp_path), job, Settings(), lambda count: None).manifest == job.manifest


def test_two_coordinators_do_not_make_one_job_in_a_store(url: str) -> None:
    job = JobDir.at(url)
    with creation_lock(job):
        assert names(job) == {".creating.lock": True}
        with pytest.raises(JobBusy, match="right now"), creation_lock(job):
            pass
    assert names(job) == {}


@pytest.mark.parametrize(
    ("holder", "age", "busy"),
    [
        ({"host": "elsewhere", "pid": 1, "token": "x"}, 5, True),
        ({"host": "elsewhere", "pid": 1, "token": "x"}, 65, False),
        ({"host": None, "pid": 2147483646, "token": "x"}, 5, False),
        ("rubbish", 5, False),
    ],
)
def test_a_killed_coordinators_lock_keeps_nobody_out_for_long(
    url: str, monkeypatch: pytest.MonkeyPatch, holder: object, age: float, busy: bool
) -> None:
    job = JobDir.at(url)
    if isinstance(holder, dict) and holder["host"] is None:
        holder["host"] = socket.gethostname()
    files.write_bytes(job.creation_lock, (json.dumps(holder, indent=2) + "\n").encode())
    now = time.time()
    monkeypatch.setattr("shared.job.changes.lock.time.time", lambda: now + age)
    if busy:
        with pytest.raises(JobBusy), store_lock(job):
            pass
    else:
        with store_lock(job):
            assert json.loads(job.creation_lock.read_bytes())["host"] == socket.gethostname()
    assert job.creation_lock.is_file() is busy


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(job_cache_dir=tmp_path / "cache", cache_dir=tmp_path / "models")


def merged(made: MadeJob, settings: Settings, control: MergeControl = UNWATCHED) -> IndexInfo:
    return merge(open_job(made.job), settings, control)


def test_an_index_is_built_for_a_job_in_a_store_and_searched_from_copies(
    url: str, settings: Settings, fetched: list[str]
) -> None:
    made = whole_job(url, failed=(3,))
    info = merged(made, settings)
    assert builds.current_build(made.job) == info.build
    assert set(files.names_in(made.job.build_dir(info.build))) == {
        "index.faiss",
        "images.arrow",
        "index.json",
        "answers.json",
    }
    assert list(verify(made.job, Checked())) == []
    assert not [*(settings.job_cache_dir or Path()).glob("builds/*/*")]
    pool = SearcherPool(settings)
    fetched.clear()
    searcher, opened = pool.opened(made.job)
    assert opened.manifest == load_manifest(made.job)
    for row in (0, 7, 58):
        assert searcher.search(made.embeddings[row].astype(np.float32), 1)[0].id == made.ids[row]
    assert {hit.id for hit in searcher.search(made.embeddings[0], 5, filter=Filter.of(None, "id < 10"))} <= set(
        range(10)
    )
    assert fetched == []  # The merge left copies of all of it.


def test_shards_of_a_job_in_a_store_are_filled_where_it_is_merged(
    url: str, settings: Settings, fetched: list[str], tmp_path: Path
) -> None:
    made = whole_job(url)
    write_index_request(made.job, IndexRequest(shards=3))
    info = merge(open_job(made.job), settings, UNWATCHED, elsewhere=True)
    assert set(files.names_in(made.job.build_dir(info.build))) == {*info.files, "index.json", "answers.json"}
    assert len(info.shards) == 3
    assert list(verify(made.job, Checked())) == []
    assert not [*(settings.job_cache_dir or Path()).glob("builds/*/*")]
    other = settings.changed(job_cache_dir=tmp_path / "elsewhere", shards="1")
    fetched.clear()
    searcher = SearcherPool(other).searcher(made.job)
    assert [name for name in fetched if name.startswith("index")] == ["index_0001.faiss"]
    assert searcher.search(made.embeddings[30].astype(np.float32), 1)[0].id == 30


def test_a_second_worker_fetches_nothing_and_an_empty_cache_everything_once(
    url: str, settings: Settings, tmp_path: Path, fetched: list[str]
) -> None:
    made = whole_job(url)
    merged(made, settings)
    other = settings.changed(job_cache_dir=tmp_path / "elsewhere")
    fetched.clear()
    SearcherPool(other).searcher(made.job)
    assert sorted(fetched) == sorted(
        ["index.faiss", "images.arrow"]
        + [f"img_emb_000{number}.npy" for number in range(3)]
        + [f"metadata_000{number}.parquet" for number in range(3)]
    )
    fetched.clear()
    SearcherPool(other).searcher(made.job)
    assert fetched == []


def test_the_copies_of_a_searcher_stay_as_long_as_it_does(url: str, settings: Settings) -> None:
    made = whole_job(url)
    build = merged(made, settings).build
    small = settings.changed(job_cache_bytes=1)
    directory = (settings.job_cache_dir or Path()) / "files"
    searcher = Searcher.open(JobFiles.of(made.job, small), build)
    gc.collect()
    JobFiles.of(made.job, small).local(made.job.spec, {"sha256": files.sha256_of(made.job.spec)})
    assert len(list(directory.iterdir())) == 9  # The index, the images and two files a partition; and the newest copy.
    assert searcher.search(made.embeddings[7].astype(np.float32), 1)[0].id == made.ids[7]
    del searcher
    gc.collect()
    JobFiles.of(made.job, small).local(made.job.paths(0), {"sha256": files.sha256_of(made.job.paths(0))})
    assert len(list(directory.iterdir())) == 1


def test_a_new_build_and_an_earlier_one_are_noticed_in_a_store(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = whole_job(url)
    first = merged(made, settings)
    pool = SearcherPool(settings)
    began = time.monotonic()

    def searcher_after(seconds: float) -> Searcher:
        with monkeypatch.context() as patch:
            patch.setattr("workers.search.pool.time.monotonic", lambda: began + seconds)
            return pool.searcher(made.job)

    opened = searcher_after(0)
    write_index_request(made.job, IndexRequest(index="hnsw", recall=0.9))
    second = merged(made, settings)
    assert first.build != second.build == builds.current_build(made.job)
    assert searcher_after(1.9) is opened  # It was looked at just now.
    newer = searcher_after(2.1)
    assert newer is not opened
    assert rollback(made.job).now.build == first.build
    assert searcher_after(4.2) not in (opened, newer)


def test_a_job_that_is_open_is_searched_while_its_store_is_away(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = whole_job(url)
    merged(made, settings)
    pool = SearcherPool(settings)
    opened = pool.searcher(made.job)

    def away(*_: object, **__: object) -> Any:
        raise ConnectionError("refused")

    for asked in ("info", "ls", "cat_file"):
        monkeypatch.setattr(MemoryFileSystem, asked, away)
    now = time.monotonic()
    for seconds in (5, 10):
        monkeypatch.setattr("workers.search.pool.time.monotonic", lambda seconds=seconds: now + seconds)
        assert pool.searcher(made.job) is opened
    assert len(caplog.messages) == 1
    with pytest.raises(StoreError):
        SearcherPool(settings).searcher(made.job)


def test_a_damaged_object_stops_a_merge_and_an_opening(url: str, settings: Settings, tmp_path: Path) -> None:
    made = whole_job(url)
    build = merged(made, settings).build
    other = settings.changed(job_cache_dir=tmp_path / "elsewhere")
    flip(made.job.img_emb(1))
    with pytest.raises(CorruptFile, match=r"img_emb_0001\.npy has another checksum"):
        SearcherPool(other).searcher(made.job)
    write_index_request(made.job, IndexRequest(recall=0.5))
    with pytest.raises(CorruptFile, match=r"img_emb_0001\.npy has another checksum"):
        merged(made, other)
    assert builds.build_names(made.job) == [build]


def test_a_killed_merge_goes_on_on_its_machine_and_is_begun_anew_on_another(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = whole_job(url)

    class Killed(BaseException):
        pass

    def killed(progress: MergeProgress) -> None:
        if progress.phase == "promoting":  # All is made, and nothing of it sent.
            raise Killed

    with pytest.raises(Killed):
        merged(made, settings, Control(yes, yes, killed))
    (left,) = builds.build_names(made.job)
    assert not builds.is_whole(made.job, left)
    trained: list[object] = []
    train = training.train

    def noted(*arguments: Any) -> Any:
        trained.append(arguments)
        return train(*arguments)

    monkeypatch.setattr(training, "train", noted)
    assert merged(made, settings).build == left
    assert trained == []

    again = whole_job(f"{url}-again")
    with pytest.raises(Killed):
        merged(again, settings, Control(yes, yes, killed))
    (left,) = builds.build_names(again.job)
    info = merged(again, settings.changed(job_cache_dir=tmp_path / "elsewhere"))
    assert builds.build_number(info.build) == builds.build_number(left) + 1
    assert builds.build_names(again.job) == [info.build]


def test_two_merges_at_once_never_take_one_name(url: str, settings: Settings, tmp_path: Path) -> None:
    job, made_of = whole_job(url).job, {"digest": "ab" * 32}
    one = directories.claim(job, "ab" * 32, made_of, tmp_path / "one")
    two = directories.claim(job, "ab" * 32, made_of, tmp_path / "two")
    assert (one, two) == ("0001-abababab", "0002-abababab")
    assert directories.claim(job, "ab" * 32, made_of, tmp_path / "one") == one
    directories.remove_stale(job, two)  # As the other merge does; its number is to stay the highest.
    assert directories.claim(job, "ab" * 32, made_of, tmp_path / "one") == "0003-abababab"


def test_altered_copies_are_drawn_without_fetching_the_embeddings(url: str, fetched: list[str], tmp_path: Path) -> None:
    there, here = whole_job(url, listed=200), make_job(tmp_path / "photos", listed=200)
    seals = [*ledger.sealed(open_job(there.job))]
    found = altered_copies.drawn(there.job, seals)
    assert fetched == []
    expected = altered_copies.drawn(here.job, [*ledger.sealed(open_job(here.job))])
    assert [one.id for one in found] == [one.id for one in expected]
    assert all(np.array_equal(one.embedding, other.embedding) for one, other in zip(found, expected, strict=True))


def test_attempts_at_a_job_in_a_store_lie_on_this_machine(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    job = whole_job(url, sealed=()).job
    with Attempt(job, 0) as attempt, attempt.in_hand(7):
        assert Attempt(job, 0).suspects(7)  # As a worker finds it whose predecessor was killed here.
        assert not Attempt(job, 1).suspects(7)
        assert names(job).keys() == whole_files(job)
    assert not Attempt(job, 0).suspects(7)
    assert job.attempts(0) == []


def whole_files(job: JobDir) -> set[str]:
    return {"job.json", *(f"paths/paths_{number:04d}.parquet" for number in job.paths_numbers())}


def test_vectors_are_imported_into_a_store(url: str, settings: Settings, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    opened = open_vectors(str(tmp_path / "vectors.npy"))
    small = settings.changed(partition_size=25)
    for _ in range(2):
        job = import_vectors(opened, JobDir.at(url), small, lambda doing, count: None)
    assert list(verify(job, Checked())) == []
    merge(job, settings, UNWATCHED)
    searcher = SearcherPool(settings).searcher(job)
    assert [searcher.search(vectors[row], 1)[0].id for row in (0, 30, 59)] == [0, 30, 59]


def test_a_job_in_a_store_is_evaluated_from_copies(
    url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = whole_job(url, listed=200)
    info = merged(made, settings)
    monkeypatch.setenv("LOOKALIKE_JOB_CACHE_DIR", str(settings.job_cache_dir))
    before = names(made.job)
    evaluation = evaluate(made.job, 50, lambda phase, share: None)
    assert (evaluation["job"], evaluation["build"]["name"], evaluation["recall_at_10"]) == (url, info.build, 1.0)
    assert names(made.job) == before


def test_weights_in_a_store_are_copied_to_be_loaded_and_outlive_the_original(
    url: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    weights = tmp_path / "b0_notop.h5"
    weights.write_bytes(b"weights")
    # A batch size that no other test has, as this process keeps what it has loaded.
    asked = settings.changed(model="efficientnet-b0", weights=weights, batch_size=41)
    job = JobDir.at(url)
    job = make_or_open(str(tmp_path / "photos"), job, asked, lambda count: None)
    weights.unlink()
    assert make_or_open(str(tmp_path / "photos"), job, asked, lambda count: None).manifest == job.manifest
    given: list[Path] = []

    def load(spec: ModelSpec, model_dir: Path, *arguments: Any, weights: Path, **options: Any) -> str:
        given.append(weights)
        assert weights.read_bytes() == b"weights"
        return "embedder"

    monkeypatch.setattr(loaded, "load_embedder", load)
    loaded.loaded_embedder(job.manifest.model, job.model_dir, asked)
    assert [path.suffix for path in given] == [".h5"]
    (job.model_dir / "b0_notop.h5").unlink()
    with pytest.raises(ModelError, match=r"b0_notop\.h5 are missing"):
        loaded.loaded_embedder(job.manifest.model, job.model_dir, asked.changed(batch_size=42))


def test_an_onnx_file_in_a_store_is_run_from_a_copy(url: str, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    model = means_file(tmp_path / "mine.onnx")
    asked = settings.changed(model=str(model), model_input=WORDS, batch_size=43)
    job = make_or_open(str(tmp_path / "photos"), JobDir.at(url), asked, lambda count: None)
    model.unlink()
    assert make_or_open(str(tmp_path / "photos"), job, asked, lambda count: None).manifest == job.manifest
    embedder = loaded.loaded_embedder(job.manifest.model, job.model_dir, asked)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    assert embedder.embed(images).shape == (3, 12)
    (job.model_dir / "mine.onnx").unlink()
    with pytest.raises(ModelError, match=r"mine\.onnx are missing"):
        loaded.loaded_embedder(job.manifest.model, job.model_dir, asked.changed(batch_size=44))


def test_a_worker_is_started_for_a_jobs_root_in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    root = any_path(f"memory://{uuid.uuid4().hex}/jobs")
    assert services._reached(root) == root  # Nothing is there yet.
    child = Settings(jobs_root=Path(str(root))).to_environment()
    assert child["LOOKALIKE_JOBS_ROOT"] == str(root)
    assert load_settings(child).jobs_root == root
    assert JobDir.under(load_settings(child).jobs_root or Path(), "photos").path == root / "photos"

    def away(path: StorePath, **options: Any) -> Any:
        raise StoreError("The store does not answer.")

    monkeypatch.setattr(StorePath, "names", away)
    with pytest.raises(StoreError):
        services._reached(root)


@pytest.mark.parametrize("url", ["s3://key:hunter2@bucket/jobs", "s3://bucket/jobs?x=hunter2"])
def test_a_jobs_root_that_can_be_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"LOOKALIKE_JOBS_ROOT\) sets jobs_root: ") as refused:
        load_settings({"LOOKALIKE_JOBS_ROOT": url})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("name", ["cache_dir", "job_cache_dir"])
def test_a_cache_lies_on_this_machine(name: str) -> None:
    with pytest.raises(SettingsError, match="must be a directory of this machine"):
        load_settings({f"LOOKALIKE_{name.upper()}": "s3://bucket/cache"})


def test_the_embedded_broker_of_a_jobs_root_in_a_store_lies_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "SOCKET_BYTES", 1_000)  # However long the path of a test's folder is.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    one, other = (runtime_directory(Path(f"s3://{bucket}/jobs")) for bucket in ("one", "other"))
    assert one != other
    assert one == runtime_directory(any_path("s3://one/jobs"))
    assert all(path.is_dir() and path.is_relative_to(tmp_path) for path in (one, other))


def test_a_job_in_a_store_is_compacted(url: str) -> None:
    made = whole_job(url, failed={3})
    merge(made.job, Settings(), UNWATCHED)
    remove(made.job, 1, 30, 59)
    queries, pool = made.embeddings[:40:7].astype(np.float32), SearcherPool(Settings())
    before = answers(made.job, queries, pool)
    assert compacted(made.job).purged == 3
    job = open_job(made.job)
    assert [one.number for one in job.partitions] == [3, 4, 5]
    assert (job.sealed_numbers(), job.paths_numbers(), job.sealed_file_numbers()) == ([3, 4, 5],) * 3
    assert answers(job, queries) == before
    merge(job, Settings(), UNWATCHED)
    assert len(compaction.tidy(job)) == 1
    assert answers(job, queries) == before
    assert list(verify(job, Checked())) == []
