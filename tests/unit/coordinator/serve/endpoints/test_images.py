"""Images over HTTP: what a job knows of one, its thumbnail and its file, and that nothing else is ever given."""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.errors import NoWorker
from shared.job.directory import JobDir
from tests.support.compactions import remove
from tests.support.duplicates import encoded, photo_job, vector_job
from tests.support.http_api import READ_KEY, Running, key_file, serving, with_key
from tests.support.once import made_once
from tests.support.source_jobs import sealed

_IMAGES = "/v1/jobs/job/images"


def _picture(seed: int) -> bytes:
    return encoded(np.random.default_rng(seed).integers(0, 255, (40, 60, 3), np.uint8))


FILES = {"a.png": _picture(1), "b.png": _picture(2), "c.jpg": encoded(np.full((30, 30, 3), 200, np.uint8), ".jpg"),
         "text.png": b"this is no image"}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with photographs and the job of them; each test has its own."""
    made = made_once("photographs over http", lambda place: photo_job(place, FILES))
    # The job names its photographs where they were made: it is copied, and they are put back if a test changes them.
    shutil.copytree(made / "job", tmp_path / "job")
    return tmp_path


@pytest.fixture
def photos() -> Iterator[Path]:
    place = made_once("photographs over http", lambda place: photo_job(place, FILES)) / "photos"
    yield place
    for name, data in FILES.items():
        (place / name).unlink(missing_ok=True)
        (place / name).write_bytes(data)


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    with serving(folder / "job") as running:
        yield running


def test_an_image_is_described_with_its_links(running: Running) -> None:
    told = running.http.get(f"{_IMAGES}/0").json()
    assert (told["status"], told["width"], told["height"]) == ("embedded", 60, 40)
    assert told["sha256"] == hashlib.sha256(FILES["a.png"]).hexdigest()
    assert running.http.get(told["links"]["file"]).content == FILES["a.png"]
    failed = running.http.get(f"{_IMAGES}/3").json()
    assert failed["status"] == "not-an-image"


def test_a_file_is_given_as_it_was_embedded_with_its_type_and_a_strong_tag(running: Running) -> None:
    for number, (name, kind) in enumerate((("a.png", "image/png"), ("b.png", "image/png"), ("c.jpg", "image/jpeg"))):
        reply = running.http.get(f"{_IMAGES}/{number}/file")
        assert (reply.status_code, reply.content, reply.headers["content-type"]) == (200, FILES[name], kind)
        assert reply.headers["etag"] == f'"{hashlib.sha256(FILES[name]).hexdigest()}"'
        assert "sandbox" in reply.headers["content-security-policy"]
        assert "no-cache" in reply.headers["cache-control"]
        again = running.http.get(f"{_IMAGES}/{number}/file", headers={"If-None-Match": reply.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=10-", 206, 10, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=5-999999999", 206, 5, None),
        ("bytes=-999999999", 206, 0, None),
        ("bytes=0-0,5-6", 200, 0, None),
        ("bytes=" + "0-," * 5_000 + "0-", 200, 0, None),
        ("bytes=0-99999999999999999999", 200, 0, None),
        ("bytes=--5", 200, 0, None),
        ("bytes=0-1-2", 200, 0, None),
        ("rows=1-2", 200, 0, None),
        ("bytes=-", 200, 0, None),
        ("bytes=9-3", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=999999-", 416, 0, 0),
    ],
)
def test_a_range_of_a_file(running: Running, asked: str, status: int, start: int, stop: int | None) -> None:
    data = FILES["a.png"]
    reply = running.http.get(f"{_IMAGES}/0/file", headers={"Range": asked})
    assert reply.status_code == status
    if status == 416:
        assert reply.headers["content-range"] == f"bytes */{len(data)}"
        return
    assert reply.content == data[start:stop]
    if status == 206:
        first = start % len(data)
        assert reply.headers["content-range"] == f"bytes {first}-{first + len(reply.content) - 1}/{len(data)}"


def test_a_range_of_another_version_is_the_whole(running: Running) -> None:
    headers = {"Range": "bytes=0-3", "If-Range": '"another"'}
    assert running.http.get(f"{_IMAGES}/0/file", headers=headers).content == FILES["a.png"]


def test_only_with_the_version_of_the_job_an_answer_is_kept_for_ever(running: Running) -> None:
    links = running.http.get(f"{_IMAGES}/0").json()["links"]
    for what in ("thumbnail", "file"):
        assert "immutable" in running.http.get(links[what]).headers["cache-control"]
        assert "immutable" not in running.http.get(f"{_IMAGES}/0/{what}").headers["cache-control"]
        assert running.http.get(f"{_IMAGES}/0/{what}", params={"v": "0" * 16}).status_code == 404


def test_a_thumbnail_is_made_once_for_each_who_has_it_not(running: Running) -> None:
    reply = running.http.get(f"{_IMAGES}/1/thumbnail", params={"w": "64"})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/jpeg")
    assert running.thumbnails.asked == [(1, 64)]
    headers = {"If-None-Match": f'"x", {reply.headers["etag"]}'}
    assert running.http.get(f"{_IMAGES}/1/thumbnail", params={"w": "64"}, headers=headers).status_code == 304
    assert running.http.get(f"{_IMAGES}/1/thumbnail", params={"w": "128"}, headers=headers).status_code == 200
    assert running.thumbnails.asked == [(1, 64), (1, 128)]
    assert running.http.get(f"{_IMAGES}/1/thumbnail", params={"w": "65"}).status_code == 422
    running.thumbnails.error = NoWorker("There is none.")
    assert running.http.get(f"{_IMAGES}/0/thumbnail").status_code == 503


def _another_image(photo: Path) -> None:
    photo.write_bytes(_picture(9))


def _another_file(photo: Path) -> None:
    photo.unlink()
    photo.symlink_to("/etc/passwd")


def _a_fifo(photo: Path) -> None:
    photo.unlink()
    os.mkfifo(photo)


def _nothing(photo: Path) -> None:
    photo.unlink()


def _endless(photo: Path) -> None:
    photo.unlink()
    photo.symlink_to("/dev/zero")


@pytest.mark.parametrize("change", [_another_image, _another_file, _a_fifo, _nothing, _endless])
def test_what_takes_the_place_of_an_image_is_never_given(
    running: Running, photos: Path, change: Callable[[Path], None]
) -> None:
    change(photos / "a.png")
    reply = running.http.get(f"{_IMAGES}/0/file")
    assert (reply.status_code, reply.headers["content-type"]) == (410, "application/problem+json")
    assert "root:" not in reply.text
    assert running.http.get(f"{_IMAGES}/1/file").status_code == 200


def test_an_image_that_failed_or_was_removed_or_never_was_is_not_given(folder: Path, running: Running) -> None:
    remove(running.api.served.open("job"), 1)
    for image_id, status in (("3", 409), ("1", 410), ("4", 404), ("99999999999999999999", 404), ("-1", 404), ("x", 404),
                             ("0x0", 404), ("٣", 404), ("0%2f..%2f1", 404), ("..%2f..%2fjob.json", 404)):  # fmt: skip
        for what in ("file", "thumbnail"):
            assert running.http.get(f"{_IMAGES}/{image_id}/{what}").status_code == status, (image_id, what)
    assert running.thumbnails.asked == []
    assert running.http.get(f"{_IMAGES}/1").json()["status"] == "removed"
    assert running.http.get(f"{_IMAGES}/4").status_code == 404


def test_a_member_of_an_archive_is_given_and_nothing_beside_it(tmp_path: Path) -> None:
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as tar:
        for name, data in (("../../etc/a.png", FILES["a.png"]), ("b.png", FILES["b.png"])):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    job = sealed(str(archive), JobDir.at(tmp_path / "jobs" / "job"))
    with serving(job.path) as running:
        given = [running.http.get(f"{_IMAGES}/{one}/file") for one in range(job.listed)]
        found = {reply.content for reply in given if reply.status_code == 200}
        assert found <= {FILES["a.png"], FILES["b.png"]}
        assert FILES["b.png"] in found


def test_paths_that_came_with_vectors_are_not_read(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    job = vector_job(tmp_path, vectors)
    with serving(job.path) as running:
        for what in ("file", "thumbnail"):
            reply = running.http.get(f"{_IMAGES}/0/{what}")
            assert (reply.status_code, "does not know the bytes" in reply.json()["detail"]) == (409, True)


def test_images_need_a_key_where_there_are_keys(folder: Path) -> None:
    with serving(folder / "job", key_file(folder)) as running:
        for path in ("0", "0/file", "0/thumbnail"):
            assert running.http.get(f"{_IMAGES}/{path}").status_code == 401
            assert running.http.get(f"{_IMAGES}/{path}", headers=with_key(READ_KEY)).status_code == 200
