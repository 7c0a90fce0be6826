"""What is not as undisturbed is noticed: files, ids, paths and answers."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.life import compare
from coordinator.jobs.changes.removal import Asked, remove
from shared.job.directory import JobDir
from shared.job.opened import OpenJob, open_job
from shared.messages.search import Hit
from tests.support.source_jobs import all_paths, job_of_a_list


@pytest.fixture
def jobs(tmp_path: Path) -> tuple[OpenJob, OpenJob]:
    """Two jobs that are the same."""
    job = job_of_a_list(tmp_path, index=True)
    other = shutil.copytree(job.path, tmp_path / "other")
    return job, open_job(JobDir.at(other))


def test_nothing_is_said_of_a_job_that_is_as_undisturbed(jobs: tuple[OpenJob, OpenJob]) -> None:
    assert compare.differences(*jobs, held=all_paths(jobs[0])) == []


def test_other_bytes_images_and_ids_are_noticed(jobs: tuple[OpenJob, OpenJob]) -> None:
    job, other = jobs
    data = bytearray(job.img_emb(1).read_bytes())
    data[-1] ^= 1
    job.img_emb(1).write_bytes(data)
    other.errors(0).unlink()
    remove(job, Asked(images=["4"]), lambda event: None)
    said = compare.differences(job, other, held=all_paths(other)[1:])
    assert "img_emb/img_emb_0001.npy is not as undisturbed." in said
    assert "errors/errors_0000.parquet is not as undisturbed." in said
    assert "The ids and paths that are left are not those of the undisturbed job." in said
    assert any(sentence.startswith("The job lacks []") or "0000004.jpg" in sentence for sentence in said)


def hits(*found: tuple[int, float]) -> list[Hit]:
    return [Hit(rank, image, f"{image}.jpg", cosine) for rank, (image, cosine) in enumerate(found, start=1)]


def test_answers_may_differ_by_the_last_bits_and_by_images_as_near_as_the_last() -> None:
    one = hits((1, 0.99), (2, 0.8), (3, 0.5))
    assert compare.other_answers([one], [hits((7, 0.99), (2, 0.8), (3, 0.5))])
    assert compare.other_answers([one], [hits((1, 0.99), (2, 0.7), (3, 0.5))])
    assert compare.other_answers([one], [one[:2]])
    assert compare.other_answers([one], [hits((1, 0.9901), (2, 0.8), (9, 0.5001))]) == []


def test_hits_of_images_that_are_not_held_are_noticed() -> None:
    found = [hits((1, 0.9)), hits((2, 0.9), (5, 0.8))]
    assert compare.hits_of_none(found, {1, 2, 5}) == []
    assert "id=5" in compare.hits_of_none(found, {1, 2})[0]


def test_what_a_job_knows_of_its_images_is_how_many_and_which_are_gone(jobs: tuple[OpenJob, OpenJob]) -> None:
    job, _ = jobs
    remove(job, Asked(ids=np.array([4, 9])), lambda event: None)
    assert compare.state(job) == (60, frozenset({4, 9}))
    assert sorted(compare.left(open_job(job))) == [image for image in range(60) if image not in (4, 9)]


def test_what_a_job_knew_after_each_change_is_told(jobs: tuple[OpenJob, OpenJob]) -> None:
    job, _ = jobs
    for image in (4, 9):
        remove(job, Asked(ids=np.array([image])), lambda event: None)
    assert compare.states_from(job, 0) == [(60, frozenset()), (60, frozenset({4})), (60, frozenset({4, 9}))]
    assert compare.states_from(job, 1) == compare.states_from(job, 0)[1:]
    assert compare.states_from(job, 2) == [compare.state(job)]
