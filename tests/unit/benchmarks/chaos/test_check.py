"""The check of the chaos harness finds what is wrong with a job, and nothing in a good one."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from benchmarks.chaos import check
from shared.job.index import builds
from shared.settings import Settings
from tests.support.controls import UNWATCHED
from tests.support.make_job import MadeJob, make_job
from workers.merge.build import merge


@pytest.fixture
def finished(tmp_path: Path) -> MadeJob:
    """A job of 60 images, one of them failed, in three partitions, with its index."""
    made = make_job(tmp_path / "job", failed=[7])
    merge(made.job, Settings(), UNWATCHED)
    return made


def test_nothing_is_said_of_a_job_that_is_as_undisturbed(finished: MadeJob) -> None:
    assert check.broken_promises(finished.job, check.checksums(finished.job)) == []


@pytest.mark.parametrize("name", ["img_emb/img_emb_0001.npy", "metadata/metadata_0000.parquet", "index/*/index.faiss"])
def test_a_flipped_byte_is_noticed(finished: MadeJob, name: str) -> None:
    reference = check.checksums(finished.job)
    path = next(finished.job.path.glob(name))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert f"{name} has other bytes than undisturbed." in check.broken_promises(finished.job, reference)


def test_a_missing_file_and_one_too_many_are_noticed(finished: MadeJob) -> None:
    reference = check.checksums(finished.job)
    finished.job.errors(2).rename(finished.job.errors(9))
    said = check.broken_promises(finished.job, reference)
    assert "errors/errors_0002.parquet is missing." in said
    assert "errors/errors_0009.parquet is there, and the undisturbed run has no such file." in said


@pytest.mark.parametrize(
    ("ids", "verb"),
    [([0, 2], "lacks the image ids [1]"), ([0, 1, 1, 2], "more than once"), ([0, 1, 2, 3], "not embedded")],
    ids=["missing", "double", "strange"],
)
def test_an_image_id_that_is_missing_double_or_strange_is_noticed(ids: list[int], verb: str) -> None:
    said = check.missing_or_double(np.array(ids), np.array([0, 1, 2]), "The index")
    assert len(said) == 1
    assert verb in said[0] or "[3]" in said[0]


@pytest.mark.parametrize("factory", ["IDMap2,Flat", "IVF4,Flat", "PCA8,IVF4,SQ8"])
def test_the_ids_of_an_index_are_read_out_of_it_itself(factory: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    ids = np.arange(0, 400, 2)
    made = faiss.index_factory(16, factory)
    made.train(vectors)
    made.add_with_ids(vectors, ids)
    made.add_with_ids(vectors[:1], ids[3:4])
    assert sorted(check.ids_of(made).tolist()) == sorted([*ids.tolist(), 6])


def test_a_chunk_that_is_left_behind_is_noticed(finished: MadeJob) -> None:
    reference = check.checksums(finished.job)
    left = finished.job.chunk(1, 0)
    left.parent.mkdir(parents=True)
    left.write_bytes(b"")
    assert check.broken_promises(finished.job, reference) == ["chunks/0001/0000.parquet is left behind."]


def test_a_build_that_is_not_whole_is_noticed(finished: MadeJob) -> None:
    reference = check.checksums(finished.job)
    current = builds.current_build(finished.job)
    assert current is not None
    (finished.job.build_dir(current) / builds.INDEX_FILE).unlink()
    assert check.broken_promises(finished.job, reference)


def test_a_traceback_in_a_log_is_noticed_from_its_place_on(tmp_path: Path) -> None:
    log = tmp_path / "embed1.log"
    log.write_text("before\nTraceback (most recent call last):\nafter\n")
    (said,) = check.tracebacks({log: 0})
    assert "embed1.log holds 1 tracebacks" in said
    assert check.tracebacks({log: log.stat().st_size - 6}) == []
