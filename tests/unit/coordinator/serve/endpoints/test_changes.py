"""Adding and removing over HTTP: what is asked of the client or done here, and what is refused."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http_api import READ_KEY, WRITE_KEY, Running, key_file, serving, with_key
from tests.support.make_job import make_job

_IMAGES = "/v1/jobs/photos/images"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A server with a broker that others use too: its client changes the job."""
    make_job(tmp_path / "photos")
    with serving(tmp_path / "photos", here=False) as running:
        yield running


def test_uploads_are_added_by_their_names_with_their_metadata(running: Running) -> None:
    files = [("image", ("C:\\photos\\a.jpg", b"one")), ("image", ("/home/b.jpg", b"two"))]
    fields = {"metadata": '{"year": 1999}', "request": "once"}
    reply = running.http.post(_IMAGES, files=files, data=fields)
    assert (reply.status_code, reply.json()["ids"]) == (201, [100, 101])
    assert reply.json()["images"][0] == f"{_IMAGES}/100"
    assert running.client.changed == [("add", [("a.jpg", b"one"), ("b.jpg", b"two")], [{"year": 1999}] * 2, "once")]


def test_an_image_is_deleted_once(tmp_path: Path, running: Running) -> None:
    assert running.http.delete(f"{_IMAGES}/3").json() == {"removed": 3}
    assert running.client.changed == [("delete", [3], None, None)]
    with serving(tmp_path / "photos") as here:
        assert here.http.delete(f"{_IMAGES}/3").json() == {"removed": 3}
        assert here.http.get(f"{_IMAGES}/3").json()["status"] == "removed"
        assert here.http.delete(f"{_IMAGES}/3").status_code == 410
        assert here.http.delete(f"{_IMAGES}/60").status_code == 404
        assert here.client.changed == []


@pytest.mark.parametrize(
    ("files", "fields", "status"),
    [
        ([], {"request": "a"}, 415),
        ([("image", ("", b"one"))], {}, 400),
        ([("image", ("a/", b"one"))], {}, 422),
        ([("picture", ("a.jpg", b"one"))], {}, 400),
        ([("image", ("a.jpg", b"one"))] * 65, {}, 400),
        ([("image", ("a.jpg", b"one"))], {"metadata": "[1]"}, 422),
        ([("image", ("a.jpg", b"one"))], {"metadata": "{"}, 422),
        ([("image", ("a.jpg", b"one"))], {"path": "/etc/passwd"}, 422),
        ([("image", ("a.jpg", b"one"))], {"request": ""}, 422),
    ],
)
def test_a_form_that_is_not_right_changes_nothing(
    running: Running, files: Any, fields: dict[str, str], status: int
) -> None:
    reply = running.http.post(_IMAGES, files=files, data=fields)
    assert reply.status_code == status, reply.text
    assert running.client.changed == []


def test_no_path_of_the_server_can_be_added(running: Running) -> None:
    assert running.http.post(_IMAGES, json={"path": "/etc/passwd"}).status_code == 415
    assert running.client.changed == []


def test_changing_takes_a_key_for_writing(tmp_path: Path) -> None:
    make_job(tmp_path / "photos")
    with serving(tmp_path / "photos", key_file(tmp_path), here=False) as running:
        files = {"image": ("a.jpg", b"one")}
        for key, status in ((None, 401), (READ_KEY, 403)):
            headers = {} if key is None else with_key(key)
            assert running.http.post(_IMAGES, files=files, headers=headers).status_code == status
            assert running.http.delete(f"{_IMAGES}/3", headers=headers).status_code == status
        assert running.client.changed == []
        assert running.http.post(_IMAGES, files=files, headers=with_key(WRITE_KEY)).status_code == 201


def test_a_server_that_may_only_read_the_job_says_so_and_leaves_changes_to_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_job(tmp_path / "photos")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    files = {"image": ("a.jpg", b"one")}
    with serving(tmp_path / "photos") as alone, serving(tmp_path / "photos", here=False) as running:
        for reply in (alone.http.post(_IMAGES, files=files), alone.http.delete(f"{_IMAGES}/3")):
            assert (reply.status_code, "may read the job" in reply.json()["detail"]) == (409, True), reply.text
        assert alone.http.get(f"{_IMAGES}/3").json()["status"] == "embedded"
        assert running.http.post(_IMAGES, files=files).status_code == 201
        assert running.http.delete(f"{_IMAGES}/3").status_code == 200
