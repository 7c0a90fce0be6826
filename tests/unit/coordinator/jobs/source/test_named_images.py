"""Which image is meant by an id or a path."""

from pathlib import Path

import numpy as np
import pytest

from coordinator.jobs.source.named_images import find_image, find_images
from shared.errors import QueryError
from shared.job import path_list
from shared.job.changes.log import Change, write_change
from shared.job.opened import OpenJob
from shared.job.source.moved import Moved, write_moved
from tests.support.make_job import make_job

PATHS = ["/a/0.jpg", "/a/1.jpg", "/a/twice.jpg", "/b/3.jpg", "/a/twice.jpg", "/a/5.jpg", "/a/twice.jpg", "/a/7.jpg"]


@pytest.fixture
def job(tmp_path: Path) -> OpenJob:
    """Eight images in partitions of three, three of them with one path."""
    job = make_job(tmp_path / "job", listed=len(PATHS), partition_size=3, chunk_size=3, sealed=()).job
    for partition in job.partitions:
        path_list.write_paths(job, partition, PATHS[partition.start : partition.stop])
    return job


def removed(job: OpenJob, *ids: int) -> OpenJob:
    write_change(job, job.manifest, Change(job.state.number + 1, "delete", removed=np.array(ids, np.int64)))
    return job.renewed()


def test_images_are_found_in_the_order_in_which_they_are_named(job: OpenJob) -> None:
    assert find_images(job, ["/a/7.jpg", "3", "/a/0.jpg", "/b/3.jpg", "/a/7.jpg"]) == [7, 3, 0, 3, 7]
    assert find_images(job, []) == []


def test_the_path_lists_are_read_once_for_all_and_no_farther_than_need_be(
    job: OpenJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    read_paths = path_list.read_paths

    def counted(job: OpenJob, partition: object) -> list[str]:
        read.append(partition.number)  # type: ignore[attr-defined]
        return read_paths(job, partition)  # type: ignore[arg-type]

    monkeypatch.setattr(path_list, "read_paths", counted)
    find_images(job, ["/a/0.jpg", "/b/3.jpg", "/a/1.jpg"])
    assert read == [0, 1]
    find_images(job, ["7", "5"])
    assert read == [0, 1]


def test_of_several_images_of_one_path_the_first_that_is_left_is_meant(job: OpenJob) -> None:
    assert find_image(job, "/a/twice.jpg") == 2
    job = removed(job, 2)
    assert find_image(job, "/a/twice.jpg") == 4
    job = removed(job, 6)
    assert find_image(job, "/a/twice.jpg") == 4
    job = removed(job, 4)
    assert find_image(job, "/a/twice.jpg") == 6  # The last one, though it is gone as well.


def test_where_the_source_moved_either_place_is_known_and_that_of_now_comes_first(job: OpenJob) -> None:
    write_moved(job, Moved("/a", "/b"))
    assert find_images(job, ["/b/7.jpg", "/a/5.jpg", "/b/3.jpg"]) == [7, 5, 3]
    path_list.write_paths(job, job.partition(0), ["/a/3.jpg", "/a/1.jpg", "/a/2.jpg"])
    assert find_images(job, ["/b/3.jpg"]) == [0]


@pytest.mark.parametrize(
    ("image", "sentence"), [("8", "ids 0 to 7, and none is 8"), ("/a/9.jpg", r"lists no image /a/9\.jpg")]
)
def test_what_is_not_listed_is_named(job: OpenJob, image: str, sentence: str) -> None:
    with pytest.raises(QueryError, match=sentence):
        find_images(job, ["/a/0.jpg", image])
