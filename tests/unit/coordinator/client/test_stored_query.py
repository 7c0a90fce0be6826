"""A query that names an image of the job by its id."""

from pathlib import Path

import numpy as np
import pytest

from coordinator.client.stored_query import is_image_id, stored_embedding
from shared.errors import QueryError
from shared.job.changes.log import Change, write_change
from tests.support.make_job import commit_chunks, make_job, unit


def test_an_id_stands_for_the_embedding_that_the_job_has_of_it(tmp_path: Path) -> None:
    made = make_job(tmp_path / "job", failed=(3, 26))
    for row in (0, 2, 3, 30, len(made.ids) - 1):
        found = stored_embedding(made.job, str(made.ids[row]))
        assert found.dtype == np.float32
        assert np.array_equal(found, made.embeddings[row].astype(np.float32))


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("60", "has the image ids 0 to 59, and none is 60"),
        ("9" * 40, "has the image ids 0 to 59, and none is 999"),
        ("3", r"The image 3 of .* has no embedding to search with \(\S+: .+\)"),
        ("30", "The image 30 of .* is not embedded yet: search with the image itself"),
    ],
)
def test_an_id_without_an_embedding_says_why(tmp_path: Path, typed: str, sentence: str) -> None:
    made = make_job(tmp_path / "job", failed=(3,), sealed=[0])
    with pytest.raises(QueryError, match=sentence):
        stored_embedding(made.job, typed)


def test_an_id_stands_for_its_embedding_from_its_checkpoint_on(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 16))
    job = make_job(tmp_path / "job", vectors, sealed=[0]).job
    commit_chunks(job, vectors, job.chunks(job.partition(1))[1], failed=(36, 38))
    for image_id in (35, 37, 39, 44):
        expected = unit(vectors[image_id]).astype(np.float16).astype(np.float32)
        assert np.array_equal(stored_embedding(job, str(image_id)), expected)
    with pytest.raises(QueryError, match=r"The image 38 of .* \(truncated: The file ends too early\.\)"):
        stored_embedding(job, "38")
    for image_id in (34, 45):
        with pytest.raises(QueryError, match=f"The image {image_id} of .* is not embedded yet"):
            stored_embedding(job, str(image_id))


def test_an_image_that_was_removed_says_when_and_by_which_change(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", failed=(3,)).job
    write_change(job, job.manifest, Change(1, "delete", removed=np.array([3, 5], np.int64), at=1_800_000_000.0))
    for image_id in ("3", "5"):
        with pytest.raises(
            QueryError, match=rf"The image {image_id} .* was removed \(change 1, delete, 2027-01-15 08:00 UTC\): search"
        ):
            stored_embedding(job.renewed(), image_id)
    assert stored_embedding(job.renewed(), "4").shape == (16,)


def test_only_plain_digits_are_an_id() -> None:
    assert is_image_id("0")
    assert is_image_id("4711")
    assert not any(map(is_image_id, ["", "-1", "+1", "1.0", "5.jpg", "./5", "\u0663", "\u00b2", " 5"]))
