"""Decisions about duplicates over HTTP: kept in the job, refused where they make no sense, and nothing deleted."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.job.directory import JobDir
from shared.job.index.duplicates.rejected import read_rejected
from shared.job.opened import open_job
from shared.storage import files
from tests.support.http_api import Running, serving
from tests.support.make_job import make_job

PATH = "/v1/jobs/photos/duplicates/decisions"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    make_job(tmp_path / "photos", listed=10)
    with serving(tmp_path / "photos") as running:
        yield running


def test_the_last_word_about_a_group_is_kept(running: Running) -> None:
    assert running.http.get(PATH).json() == {"kept": []}
    assert running.http.post(PATH, json={"images": [4, 2, 4], "keep": 4}).json() == {"new": 1}
    assert running.http.post(PATH, json={"images": [2, 4], "keep": 4}).json() == {"new": 0}
    assert running.http.post(PATH, json={"images": [2, 4], "keep": 2}).json() == {"new": 1}
    assert running.http.get(PATH).json() == {"kept": [{"keep": 2, "images": [2, 4]}]}


def test_without_one_to_keep_the_images_are_no_duplicates(running: Running, tmp_path: Path) -> None:
    assert running.http.post(PATH, json={"images": [1, 2, 3]}).json() == {"new": 3}
    assert read_rejected(open_job(JobDir.at(tmp_path / "photos"))) == {(1, 2), (1, 3), (2, 3)}
    assert running.http.get(PATH).json() == {"kept": []}


@pytest.mark.parametrize(
    "asked",
    [{}, {"images": []}, {"images": [1]}, {"images": [1, 1], "keep": 1}, {"images": [1, 2], "keep": 3},
     {"images": [1, 10], "keep": 1}, {"images": [1, 10]}, {"images": [-1, 1], "keep": 1},
     {"images": [1, 2], "keep": "1"}, {"images": "1 2"}, {"images": [1, 2], "kept": 1}],
)  # fmt: skip
def test_what_makes_no_sense_changes_nothing(running: Running, tmp_path: Path, asked: dict[str, Any]) -> None:
    reply = running.http.post(PATH, json=asked)
    assert (reply.status_code, reply.json()["kind"]) == (422, "UsageError"), reply.text
    assert not (tmp_path / "photos" / "duplicates").exists()


@pytest.mark.parametrize("asked", [{"images": [1, 2], "keep": 1}, {"images": [1, 2]}])
def test_a_server_that_may_only_read_the_job_keeps_no_decision_and_says_so(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    def refuse(path: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(files, "write_bytes", refuse)
    reply = running.http.post(PATH, json=asked)
    assert (reply.status_code, "may read the job" in reply.json()["detail"]) == (409, True), reply.text
    assert not (tmp_path / "photos" / "duplicates").exists()
