"""Every form of a source, from what is typed to the sealed partition, on real image bytes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from shared.errors import JobMismatch, SourceError
from shared.job import path_list
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from tests.support.embedders import AnyModel, embed
from tests.support.images.forms import CONTENTS, FORMS, NAMES, Form, half, write_folder, write_tar, write_zip
from tests.support.source_jobs import made, sealed


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> JobDir:
    """The job of the plain folder, to compare with."""
    folder = tmp_path_factory.mktemp("expected")
    job = JobDir(folder / "job")
    sealed(str(write_folder(folder / "photos")), job)
    return job


@pytest.mark.parametrize("name", FORMS)
def test_each_form_of_a_source_gives_the_same_embeddings(tmp_path: Path, name: str, expected: JobDir) -> None:
    form: Form = FORMS[name](tmp_path)
    job = JobDir(tmp_path / "job")
    job = sealed(form.source, job)
    assert job.listed == 12
    assert job.manifest.source.left_out == form.left_out
    assert set(job.manifest.source.known) == set(form.known)
    for number in range(3):
        np.testing.assert_array_equal(np.load(job.img_emb(number)), np.load(expected.img_emb(number)))
        metadata = pq.read_table(job.metadata(number))
        assert metadata["sha256"] == pq.read_table(expected.metadata(number))["sha256"]
        ids = metadata["id"].to_pylist()
        for column, values in form.known.items():
            assert metadata[column].to_pylist() == [values[image] for image in ids]
    paths = [path for partition in job.partitions for path in path_list.read_paths(job, partition)]
    assert paths == [f"{tmp_path}/{'shards/' if name == 'webdataset' else ''}{suffix}" for suffix in form.suffixes]
    (failed,) = pq.read_table(job.errors(1)).to_pylist()
    assert (failed["id"], failed["status"]) == (8, "not-an-image")


@pytest.mark.parametrize("name", FORMS)
def test_the_same_source_goes_on_and_another_is_refused(tmp_path: Path, name: str) -> None:
    form = FORMS[name](tmp_path)
    job = JobDir(tmp_path / "job")
    job = made(form.source, job)
    assert made(form.source, job).manifest == job.manifest == load_manifest(job)
    other = write_zip(tmp_path / "another.zip", half(True))
    with pytest.raises(JobMismatch, match="name another JOB"):
        made(str(other), job)


def test_a_list_of_what_hits_give_back_is_a_source(tmp_path: Path, expected: JobDir) -> None:
    write_tar(tmp_path / "photos.tar")
    (tmp_path / "list.txt").write_text("".join(f"photos.tar::{name}\n" for name in NAMES))
    job = JobDir(tmp_path / "job")
    sealed(str(tmp_path / "list.txt"), job)
    np.testing.assert_array_equal(np.load(job.img_emb(0)), np.load(expected.img_emb(0)))


def test_a_job_in_the_middle_goes_on_where_its_archive_is_mounted_again(tmp_path: Path, expected: JobDir) -> None:
    tar = write_tar(tmp_path / "photos.tar")
    job = JobDir(tmp_path / "job")
    job = made(str(tar), job)
    away = tar.rename(tmp_path / "away")
    with pytest.raises(SourceError, match="put it back there, and the job goes on"):
        embed(job, 0, embedder=AnyModel(job.manifest))
    assert job.chunk_numbers(0) == []
    away.rename(tar)
    embed(job, 0, embedder=AnyModel(job.manifest))
    np.testing.assert_array_equal(np.load(job.img_emb(0)), np.load(expected.img_emb(0)))


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_another_archive_of_the_same_name_is_not_taken_for_it(tmp_path: Path, kind: str) -> None:
    write: Callable[..., Path] = write_tar if kind == "tar" else write_zip
    path = write(tmp_path / f"photos.{kind}")
    job = JobDir(tmp_path / "job")
    job = made(str(path), job)
    write(path, {name: data + b"more" * (number + 1) for number, (name, data) in enumerate(CONTENTS.items())})
    with pytest.raises(SourceError, match="is not the one that was listed: it ha"):
        embed(job, 1, embedder=AnyModel(job.manifest))
    job.source_files.unlink()  # As in a job of an earlier version.
    with pytest.raises(SourceError, match="it is not the one that was listed, or not whole"):
        embed(job, 1, embedder=AnyModel(job.manifest))
    assert job.chunk_numbers(1) == []


def test_what_lies_in_an_archive_that_was_cut_since_is_a_failed_row_of_a_job_that_does_not_know_it(
    tmp_path: Path,
) -> None:
    tar = write_tar(tmp_path / "photos.tar")
    job = JobDir(tmp_path / "job")
    job = made(str(tar), job)
    last = path_list.read_locations(job, job.partition(2))[1].member
    assert last is not None
    with open(tar, "rb+") as file:
        file.truncate(last.offset + 512 + last.size - 10)
    with pytest.raises(SourceError, match="it had 30,720 bytes when it was listed, and has"):
        embed(job, 2, embedder=AnyModel(job.manifest))
    job.source_files.unlink()  # As in a job of an earlier version.
    seal = embed(job, 2, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (1, 1)
    (row,) = pq.read_table(job.errors(2)).to_pylist()
    assert (row["status"], row["error_message"]) == ("truncated", "The tar is cut short: 10 bytes are missing.")


def test_a_tar_is_scanned_once_however_many_partitions_read_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JobDir(tmp_path / "job")
    job = made(str(write_tar(tmp_path / "photos.tar")), job)

    def scan(*_: object) -> None:
        raise AssertionError("the tar is scanned again")

    monkeypatch.setattr("shared.images.archives.FILES", {".tar": scan})
    for partition in job.partitions:
        embed(job, partition.number, embedder=AnyModel(job.manifest))
    assert job.sealed_numbers() == [0, 1, 2]


def test_columns_keep_what_partitions_of_other_kinds_hold(tmp_path: Path) -> None:
    """Whole numbers in one partition, real ones in the next, text in a third: nothing is lost, nothing refused."""
    write_folder(tmp_path / "photos")
    stars = ["1", "2", "3", "4", "5", "6.5", "", "8", "9", "10", "many", "12"]
    rows = "".join(f"photos/{name},{value},{value if n < 10 else ''}\n" for n, (name, value) in
                   enumerate(zip(NAMES, stars, strict=True)))  # fmt: skip
    (tmp_path / "list.csv").write_text("path,stars,reals\n" + rows)
    job = JobDir(tmp_path / "job")
    job = sealed(str(tmp_path / "list.csv"), job)
    assert job.manifest.source.known == {"stars": "string", "reals": "double"}
    tables = [pq.read_table(job.metadata(number)) for number in range(3)]
    found = {row["id"]: (row["stars"], row["reals"]) for table in tables for row in table.to_pylist()}
    assert found == {
        0: ("1", 1.0), 1: ("2", 2.0), 2: ("3", 3.0), 3: ("4", 4.0), 4: ("5", 5.0), 5: ("6.5", 6.5), 6: (None, None),
        7: ("8", 8.0), 9: ("10", 10.0), 10: ("many", None), 11: ("12", None),
    }  # fmt: skip
    assert len({table.schema for table in tables}) == 1
    shutil.rmtree(job.path)
