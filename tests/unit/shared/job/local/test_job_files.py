"""What a job on a disk and one in a store answer alike, and where they must differ."""

import gc
import hashlib
import os
import uuid
from pathlib import Path

import pytest

from shared.errors import CorruptFile, SettingsError
from shared.job.directory import JobDir
from shared.job.index.builds import IndexInfo
from shared.job.local.job_files import DiskFiles, Entry, JobFiles, StoreFiles
from shared.settings import Settings
from shared.storage import files
from tests.support.builds import info_of


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(job_cache_dir=tmp_path / "cache", job_cache_bytes=1_000)


@pytest.fixture(params=["disk", "store"])
def job(request: pytest.FixtureRequest, tmp_path: Path) -> JobDir:
    return JobDir.at(tmp_path / "photos" if request.param == "disk" else f"memory://{uuid.uuid4().hex}/photos")


@pytest.fixture
def in_store() -> JobDir:
    return JobDir.at(f"memory://{uuid.uuid4().hex}/photos")


def put(path: Path, data: bytes) -> tuple[Path, Entry]:
    files.write_bytes(path, data)
    return path, {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def refused(path: Path, entry: Entry) -> None:
    if files.sha256_of(path) != entry["sha256"]:
        raise CorruptFile(f"{path} is another.")


def test_a_file_of_a_job_is_a_file_of_this_machine(job: JobDir, settings: Settings) -> None:
    here = JobFiles.of(job, settings)
    one, two = put(job.img_emb(0), b"one"), put(job.img_emb(1), b"two")
    path = here.local(*one)
    assert path.read_bytes() == b"one"
    assert os.fspath(path)  # Of a store it would be refused.
    assert [found.read_bytes() for found in here.all_local([two, one])] == [b"two", b"one"]


def test_a_file_that_is_not_what_was_written_down_is_refused_where_it_is_compared(
    job: JobDir, settings: Settings
) -> None:
    here = JobFiles.of(job, settings)
    path, entry = put(job.img_emb(0), b"one")
    files.write_bytes(path, b"two")
    with pytest.raises(CorruptFile, match=r"img_emb_0000\.npy (is another|has another checksum)"):
        here.local(path, entry, compare=refused)
    with pytest.raises(CorruptFile, match=r"img_emb_0000\.npy (is another|has another checksum)"):
        here.all_local([(path, entry)], compare=refused)


def test_a_file_on_a_disk_is_used_where_it_is_and_read_only_to_be_compared(tmp_path: Path, settings: Settings) -> None:
    here = JobFiles.of(JobDir.at(tmp_path / "photos"), settings)
    path, entry = tmp_path / "there is none", {"sha256": "0"}
    assert here.local(path, entry, check=True) == path
    assert here.all_local([(path, entry)], check=True) == [path]
    assert not (tmp_path / "cache").exists()


def test_the_bytes_of_a_copy_are_compared_when_asked(in_store: JobDir, settings: Settings, fetched: list[str]) -> None:
    wanted = put(in_store.img_emb(0), b"one")
    copy = JobFiles.of(in_store, settings).local(*wanted)
    for asked, data in (({}, b"two"), ({"check": True}, b"one"), ({}, b"two"), ({"compare": refused}, b"one")):
        copy.write_bytes(b"two")
        assert JobFiles.of(in_store, settings).local(*wanted, **asked).read_bytes() == data
    assert fetched == ["img_emb_0000.npy"] * 3


def test_a_size_that_was_not_written_down_is_asked_of_the_store(in_store: JobDir, settings: Settings) -> None:
    path, entry = put(in_store.model_dir / "weights.h5", b"weights")
    wanted = (path, {"sha256": entry["sha256"]})
    assert JobFiles.of(in_store, settings).local(*wanted, check=True).read_bytes() == b"weights"
    assert JobFiles.of(in_store, settings).all_local([wanted])[0].read_bytes() == b"weights"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        JobFiles.of(in_store, settings).local(*wanted)


def test_copies_stay_as_long_as_the_files_of_their_job(in_store: JobDir, settings: Settings) -> None:
    here, other = JobFiles.of(in_store, settings), JobFiles.of(in_store, settings)
    copy = here.local(*put(in_store.img_emb(0), b"a" * 600))
    other.local(*put(in_store.img_emb(1), b"b" * 600))
    assert copy.is_file()
    del here
    gc.collect()
    other.local(*put(in_store.img_emb(2), b"c" * 600))
    assert not copy.exists()


def made(here: JobFiles) -> IndexInfo:
    """Make the files of a build where they are to be made."""
    names = {name: b"made " + name.encode() for name in ("index.faiss", "images.arrow")}
    build = "0001-ab12cd34"
    return info_of(build, {name: dict(put(here.work_dir / build / name, data)[1]) for name, data in names.items()})


def test_a_published_build_is_in_the_job_and_queries_fetch_nothing(
    job: JobDir, settings: Settings, fetched: list[str]
) -> None:
    here, shares = JobFiles.of(job, settings), list[float]()
    build = made(here)
    os.fspath(here.work_dir)
    here.publish(build, shares.append)
    paths = [(job.build_dir(build.build) / name, entry) for name, entry in build.files.items()]
    assert [path.read_bytes() for path, _ in paths] == [b"made index.faiss", b"made images.arrow"]
    assert shares == ([] if here.work_dir == job.index_dir else [0.0, 0.5])
    here.keep(build)
    assert here.work_dir == job.index_dir or not here.work_dir.exists()
    copies = JobFiles.of(job, settings).all_local(paths, check=True)
    assert [path.read_bytes() for path in copies] == [b"made index.faiss", b"made images.arrow"]
    assert fetched == []


def test_a_replaced_file_is_another_only_where_that_can_be_told_without_reading_it(
    job: JobDir, settings: Settings
) -> None:
    here = JobFiles.of(job, settings)
    assert here.stamp(job.spec) is None
    files.write_bytes(job.spec, b"one\n")
    before = here.stamp(job.spec)
    assert before == here.stamp(job.spec)
    files.write_bytes(job.spec, b"two\n")
    assert (before is None) is isinstance(here, StoreFiles)
    assert before is None or here.stamp(job.spec) != before


def test_a_disk_is_asked_each_time_and_a_store_less_often(in_store: JobDir, tmp_path: Path) -> None:
    disk, store = JobFiles.of(JobDir.at(tmp_path / "photos")), JobFiles.of(in_store)
    assert (disk.look_seconds, store.look_seconds) == (1.0, 4.0)
    assert (disk.believed_seconds, store.believed_seconds) == (0.0, 2.0)


def test_the_settings_of_the_environment_are_read_for_a_store_alone(
    in_store: JobDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_JOB_CACHE_BYTES", "many")
    assert isinstance(JobFiles.of(JobDir.at(tmp_path / "photos")), DiskFiles)
    with pytest.raises(SettingsError, match="LOOKALIKE_JOB_CACHE_BYTES"):
        JobFiles.of(in_store)
