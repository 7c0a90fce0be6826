"""`lookalike add`: vectors out of files, what it refuses, and what it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from coordinator.display.changes.addition import addition_lines
from coordinator.jobs.from_vectors import import_vectors
from coordinator.sources.vectors.vectors import open_vectors
from shared.errors import UsageError
from shared.job.directory import JobDir
from shared.job.local.job_files import JobFiles
from shared.job.opened import OpenJob, open_job
from shared.messages.changed import Changed
from shared.messages.changes import ChangeJob
from shared.settings import Settings
from tests.support.cli import Run
from tests.support.controls import UNWATCHED
from tests.support.damage import snapshot
from workers.embed.changes.apply import apply
from workers.merge import build as merging
from workers.search.searcher import Searcher

DIM = 6


def vectors(count: int, seed: int, **columns: list[object]) -> pa.Table:
    values = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return pa.table({"image_path": [f"{seed}/{row}.jpg" for row in range(count)], "v": list(values), **columns})


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """A job of 40 imported vectors in partitions of 25, whose metadata has a year, with its index."""
    pq.write_table(vectors(40, 0, year=list(range(40))), tmp_path / "first.parquet")
    opened = open_vectors(str(tmp_path / "first.parquet"), "v")
    made = import_vectors(
        opened, JobDir(tmp_path / "job"), Settings(partition_size=25), lambda *a: None, model_name="clip"
    )
    merging.merge(made, Settings(), UNWATCHED)
    return made


def test_vectors_of_a_file_are_added_and_found(run: Run, job: OpenJob, tmp_path: Path) -> None:
    table = vectors(30, 1, year=list(range(1900, 1930)))
    pq.write_table(table, tmp_path / "more.parquet")
    ran = run("add", job.path, "--vectors", "more.parquet", "--column", "v", "--model-name", "clip")
    assert (ran.status, ran.out) == (
        0,
        "30 vectors added, with the ids 40 to 69: a search finds them from now on.\n",
    ), ran.err
    assert [len(part) for part in open_job(job).partitions] == [25, 15, 25, 5]
    searcher = Searcher.open(JobFiles.of(job, Settings()), job.current.read_text().strip())
    for row in (0, 24, 25, 29):
        hit = searcher.search(np.array(table["v"][row].as_py()))[0]
        assert (hit.id, hit.image_path) == (40 + row, f"1/{row}.jpg")
    found = pq.read_table(job.metadata(3))
    assert found.schema.equals(pq.read_table(job.metadata(0)).schema)
    assert found["year"].to_pylist() == list(range(1925, 1930))
    assert run("verify", job.path).status == 0


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        (vectors(3, 0, year=[1, 2, 3]), [], "has 0/0.jpg (id 0), 0/1.jpg (id 1), 0/2.jpg (id 2) already"),
        (vectors(3, 1, colour=["a", "b", "c"]), [], "has the column 'colour', and that of"),
        (vectors(2, 1, year=["x", "y"]), [], "The column year of the job holds int64"),
        (vectors(2, 1), ["--model-name", "other"], "of the model 'clip', and those given have 6 of the model 'other'"),
        (pa.table({"v": [[1.0] * DIM, [0.0] * DIM]}), [], "The vector 1 of"),
        (pa.table({"v": [[1.0] * 5]}), [], "and those given have 5"),
        (pa.table({"image_path": ["a", "a"], "v": [[1.0] * DIM] * 2}), [], "a was named twice"),
    ],
)
def test_vectors_that_can_not_be_added_leave_nothing(
    run: Run, job: OpenJob, tmp_path: Path, table: pa.Table, options: list[str], said: str
) -> None:
    pq.write_table(table, tmp_path / "more.parquet")
    before = snapshot(job.path)
    ran = run("add", job.path, "--vectors", "more.parquet", "--column", "v", *options)
    assert (ran.status in (1, 2), ran.out) == (True, "")
    assert said in " ".join(ran.err.split())
    assert snapshot(job.path) == before


def test_what_is_to_be_added_is_named_in_one_way(run: Run, job: OpenJob) -> None:
    for arguments in ([], ["a.png", "--vectors", "more.parquet"]):
        ran = run("add", job.path, *arguments)
        assert (ran.status, "Name what is to be added in one way" in ran.err) == (2, True)
    ran = run("add", job.path, ".")
    assert (ran.status, "is a folder" in ran.err) == (2, True)
    ran = run("add", job.path, "a.png", "--model-name", "clip")
    assert (ran.status, "leave --model-name out, or give vectors" in ran.err) == (2, True)


def test_it_says_when_the_index_should_take_what_was_added(job: OpenJob) -> None:
    assert list(addition_lines(Changed([7], 1), job, "image")) == [
        "1 image added, with the id 7: a search finds it from now on."
    ]
    _, due = addition_lines(Changed(range(7, 1007), 1, (1_200, 3)), job, "vector")
    assert due == "1,200 vectors in 3 partitions are searched beside the index: `lookalike import` adds them to it."


def test_the_metadata_of_a_vector_is_updated_and_its_embedding_stays(job: OpenJob) -> None:
    message = ChangeJob("job", "update", "request", ids=(27,), metadata=({"year": 7},))
    assert apply(job, message, Settings()).ids == [40]
    (row,) = pq.read_table(job.metadata(2)).to_pylist()
    assert row == pq.read_table(job.metadata(1)).to_pylist()[2] | {"id": 40, "year": 7}
    assert (np.load(job.img_emb(2)) == np.load(job.img_emb(1))[2]).all()
    assert open_job(job).state.removed.tolist() == [27]
    with pytest.raises(UsageError, match=r"has no column 'colour' .*: it has year"):
        apply(job, replace(message, request="two", ids=(40,), metadata=({"colour": "red"},)), Settings())
