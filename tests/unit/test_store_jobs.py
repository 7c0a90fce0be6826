"""A job in a store, memory:// here: what its files are, and what verify and repair make of them."""

import json
import socket
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coordinator.creation_object import creation_object
from coordinator.findings import Checked, Kind
from coordinator.making import creation_lock, make_or_open
from coordinator.partition import PathDigest
from coordinator.progress import ProgressReader
from coordinator.repair import repair
from coordinator.verify import verify
from shared import builds, checkpoint, files, ledger
from shared.errors import JobBusy
from shared.jobdir import JobDir
from shared.manifest import load_manifest, write_manifest
from shared.settings import Settings
from tests.unit.make_job import MadeJob, image_path, make_job


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}/photos"


def whole_job(url: str, **options: Any) -> MadeJob:
    """A made job whose manifest has the digest of its path lists, as one that was made from images has."""
    made = make_job(url, **options)
    digest = PathDigest()
    for _ in digest.feed(image_path(image) for image in range(made.manifest.listed)):
        pass
    source = replace(made.manifest.source, digest=digest.hexdigest())
    write_manifest(made.job, replace(made.manifest, source=source))
    return made


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
    assert [seal.files for seal in ledger.sealed(there, load_manifest(there))] == [
        seal.files for seal in ledger.sealed(here, load_manifest(here))
    ]
    assert builds.ledger_digest(ledger.sealed(there, load_manifest(there))) == builds.ledger_digest(
        ledger.sealed(here, load_manifest(here))
    )


def test_progress_is_read_from_the_store(url: str) -> None:
    made = make_job(url, sealed=(0,), listed=75)
    chunk = made.manifest.chunks(made.manifest.partition(1))[0]
    _copy_chunk(url, made.job, 1, 0)
    progress = ProgressReader(made.job, load_manifest(made.job)).read()
    assert progress.partitions == {"sealed": 1, "started": 1, "waiting": 1}
    assert progress.embedded == 25 + len(chunk)
    assert progress.job == url


def _copy_chunk(url: str, job: JobDir, partition: int, chunk: int) -> None:
    """Commit one chunk of a partition that another job, which never sealed it, gives."""
    other = make_job(f"{url}-other", listed=75, sealed=()).job
    manifest = load_manifest(other)
    wanted = manifest.chunks(manifest.partition(partition))[chunk]
    rows = [
        checkpoint.ImageRow(image, f"{image}.jpg", 1, 1, 1, None, "ok", None)
        for image in range(wanted.start, wanted.stop)
    ]
    embeddings = np.eye(len(rows), 16, dtype=np.float16)
    checkpoint.commit_chunk(job, manifest, wanted, rows, embeddings, 1.0)


def test_the_first_of_two_commits_of_a_chunk_stays(url: str) -> None:
    job = make_job(url, listed=75, sealed=()).job
    _copy_chunk(url, job, 0, 0)
    before = job.chunk(0, 0).read_bytes()
    _copy_chunk(url, job, 0, 0)  # Its summary has another time.
    assert job.chunk(0, 0).read_bytes() == before
    assert job.chunk_numbers(0) == [0]
    assert len(checkpoint.missing_chunks(job, load_manifest(job), load_manifest(job).partition(0))) == 2


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
    manifest = make_or_open(str(tmp_path), job, Settings(), lambda count: None)
    assert manifest.listed == 2
    assert names(job) == {"job.json": True, "paths/paths_0000.parquet": True}
    assert make_or_open(str(tmp_path), job, Settings(), lambda count: None) == manifest


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
    monkeypatch.setattr("coordinator.creation_object.time.time", lambda: now + age)
    if busy:
        with pytest.raises(JobBusy), creation_object(job):
            pass
    else:
        with creation_object(job):
            assert json.loads(job.creation_lock.read_bytes())["host"] == socket.gethostname()
    assert job.creation_lock.is_file() is busy
