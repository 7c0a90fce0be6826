"""Places behind URLs: read, listed and embedded from, and what each of their refusals becomes."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from coordinator.client.queries import as_query
from coordinator.sources.resolve import open_source
from shared.errors import ImageError, SourceError
from shared.images.location import read_bytes
from shared.job.directory import JobDir
from shared.storage import remote
from shared.text import without_secrets
from tests.support.embedders import AnyModel, embed
from tests.support.images.forms import CONTENTS, FORMS, NAMES, write_folder, write_tar
from tests.support.source_jobs import made, sealed

ROOMY = 1 << 20


class Site(ThreadingHTTPServer):
    """A web server with files in memory that knows ranges, and fails as it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.failing: dict[str, int] = {}
        self.asked: Counter[str] = Counter()
        self.hold = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, whole: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.asked[path] += 1
        status = self.server.failing.get(path, 200)
        if status == 0:
            self.server.hold.wait(30)
            return
        data = self.server.files.get(path)
        if data is None and any(name.startswith(path.rstrip("/") + "/") for name in self.server.files):
            path = path.rstrip("/") + "/"
            names = {name[len(path) :].partition("/") for name in self.server.files if name.startswith(path)}
            data = "".join(f'<a href="{first}{slash}">x</a>' for first, slash, _ in sorted(names)).encode() or None
        if data is None and status == 200:
            status = 404
        body, headers = data or b"", {}
        span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if span and status == 200:
            start, stop = int(span[1]), min(int(span[2]) + 1, len(body))
            status = 206 if start < len(body) else 416
            headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}"} if status == 206 else {}
            body = body[start:stop] if status == 206 else b""
        body = body if status in (200, 206) else b"no"
        self.send_response(status)
        for name, value in ({"Accept-Ranges": "bytes", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if whole:
            self.wfile.write(body)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.0)
    server = Site()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def embeddings(job: JobDir) -> np.ndarray:
    return np.concatenate([np.load(job.img_emb(number)) for number in job.sealed_numbers()])


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("expected")
    sealed(str(write_folder(folder / "photos")), JobDir(folder / "job"))
    return embeddings(JobDir(folder / "job"))


@pytest.mark.parametrize(
    "name", ["folder", "text list", "csv", "tar", "zip", "hugging face", "webdataset", "parquet list"]
)
def test_each_form_is_a_source_behind_a_url(tmp_path: Path, memory: Any, name: str, expected: np.ndarray) -> None:
    form = FORMS[name](tmp_path)
    memory.put(str(tmp_path) + "/", "/bucket/", recursive=True)
    job = JobDir(tmp_path / "job")
    url = f"memory://bucket/{Path(form.source).relative_to(tmp_path)}"
    job = sealed(url, job)
    np.testing.assert_array_equal(embeddings(job), expected)
    assert job.manifest.source.location == url
    assert set(job.manifest.source.known) == set(form.known)
    paths = [row["image_path"] for number in range(3) for row in pq.read_table(job.metadata(number)).to_pylist()]
    assert all(path.startswith("memory://") for path in paths)
    assert as_query(paths[0]).image == CONTENTS[NAMES[0]]
    assert made(url, job).manifest == job.manifest


def test_a_pattern_behind_a_url_gives_what_it_matches(tmp_path: Path, memory: Any, expected: np.ndarray) -> None:
    form = FORMS["glob"](tmp_path)
    memory.put(str(tmp_path) + "/", "/bucket/", recursive=True)
    job = JobDir(tmp_path / "job")
    sealed(f"memory://bucket/{Path(form.source).name}", job)
    np.testing.assert_array_equal(embeddings(job), expected)
    with pytest.raises(SourceError, match="Nothing matches memory://bucket/none"):
        list(open_source("memory://bucket/none*.tar"))


def test_images_and_archives_on_a_web_server_are_a_source(tmp_path: Path, site: Site, expected: np.ndarray) -> None:
    site.files = {f"/photos/{name}": data for name, data in CONTENTS.items()}
    site.files["/photos.tar"] = write_tar(tmp_path / "photos.tar").read_bytes()
    sealed(f"{site.url}/photos", JobDir(tmp_path / "folder"))
    np.testing.assert_array_equal(embeddings(JobDir(tmp_path / "folder")), expected)
    sealed(f"{site.url}/photos.tar", JobDir(tmp_path / "tar"))
    np.testing.assert_array_equal(embeddings(JobDir(tmp_path / "tar")), expected)
    # Less than a whole reading of the tar for each of its images: they are read by their place.
    assert site.asked["/photos.tar"] < 2 * len(NAMES) + 10


@pytest.mark.parametrize(
    ("status", "kind", "sentence"),
    [
        (404, "vanished", "there is no such file"),
        (410, "vanished", "there is no such file"),
        (403, "unreadable", "answers 403, that it may not be read"),
        (401, "unreadable", "answers 401, that it may not be read"),
        (418, "unreadable", "answers 418"),
    ],
)
def test_a_refusal_is_of_the_image_and_not_asked_twice(site: Site, status: int, kind: str, sentence: str) -> None:
    site.files["/a.jpg"], site.failing["/a.jpg"] = b"x", status
    with pytest.raises(ImageError, match=sentence) as raised:
        read_bytes(f"{site.url}/a.jpg", ROOMY)
    assert raised.value.status == kind
    assert not isinstance(raised.value, remote.OutOfReach)
    assert site.asked["/a.jpg"] == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_fails_is_asked_three_times_and_out_of_reach(site: Site, status: int) -> None:
    site.files["/a.jpg"], site.failing["/a.jpg"] = b"x", status
    with pytest.raises(remote.OutOfReach, match=r"a\.jpg can't be reached now .* after 3 tries"):
        remote.read_at(f"{site.url}/a.jpg", 0, 10)
    assert site.asked["/a.jpg"] == 3
    del site.failing["/a.jpg"]
    assert remote.read_at(f"{site.url}/a.jpg", 0, 10) == b"x"


def test_a_server_that_never_answers_is_not_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.2)
    site.failing["/slow.jpg"] = 0
    with pytest.raises(remote.OutOfReach, match="can't be reached now"):
        remote.read_at(f"{site.url}/slow.jpg", 0, 10)


def test_sizes_are_kept_to_and_an_empty_file_is_empty(site: Site) -> None:
    site.files |= {"/a.jpg": b"x" * 1000, "/empty.jpg": b""}
    assert read_bytes(f"{site.url}/a.jpg", 1000) == b"x" * 1000
    with pytest.raises(ImageError, match="more than 999 bytes") as raised:
        read_bytes(f"{site.url}/a.jpg", 999)
    assert raised.value.status == "oversized"
    assert read_bytes(f"{site.url}/empty.jpg", 1000) == b""


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(404, "There is nothing at"), (403, "can't be read: it answers 403"), (500, "can't be read: it answers 500")],
)
def test_a_source_that_is_refused_is_a_sentence(site: Site, status: int, sentence: str) -> None:
    site.failing |= {"/photos.tar": status, "/list.txt": status}
    for name in ("photos.tar", "list.txt"):
        with pytest.raises(SourceError, match=sentence):
            list(open_source(f"{site.url}/{name}"))


def test_a_secret_in_a_url_is_in_no_sentence(site: Site) -> None:
    url = site.url.replace("http://", "http://user:hunter2@") + "/photos.tar?signature=hunter3"
    with pytest.raises(SourceError) as raised:
        list(open_source(url))
    assert "hunter" not in str(raised.value)
    assert without_secrets(url) == f"{site.url}/photos.tar"


def test_a_place_that_nobody_knows_or_that_needs_a_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="No file system is known for nowhere://x"):
        open_source("nowhere://x")
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda *_, **__: (_ for _ in ()).throw(ImportError("Install s3fs")))
    with pytest.raises(SourceError, match=r"To read s3:// URLs, a package is missing: install lookalike\[s3\]"):
        open_source("s3://bucket/x.tar")


def test_images_of_a_server_that_went_away_are_not_committed_as_lost(tmp_path: Path, site: Site) -> None:
    site.files = {f"/{name}": data for name, data in CONTENTS.items()}
    (tmp_path / "list.txt").write_text("".join(f"{site.url}/{name}\n" for name in NAMES))
    job = JobDir(tmp_path / "job")
    job = made(str(tmp_path / "list.txt"), job)
    site.failing = {f"/{name}": 503 for name in NAMES}
    with pytest.raises(SourceError, match="The images' server does not answer, or not well"):
        embed(job, 0, embedder=AnyModel(job.manifest))
    assert job.chunk_numbers(0) == []
    # One image that always fails is a row, where others of the same server are read.
    site.failing = {f"/{NAMES[1]}": 503}
    seal = embed(job, 0, embedder=AnyModel(job.manifest))
    assert (seal.embedded, seal.failed) == (4, 1)
    (row,) = pq.read_table(job.errors(0)).to_pylist()
    assert (row["id"], row["status"]) == (1, "unreadable")


def test_a_remote_archive_that_went_away_is_not_taken_for_lost_images(tmp_path: Path, site: Site) -> None:
    site.files["/photos.tar"] = write_tar(tmp_path / "photos.tar").read_bytes()
    job = JobDir(tmp_path / "job")
    job = made(f"{site.url}/photos.tar", job)
    tar = site.files.pop("/photos.tar")
    with pytest.raises(SourceError, match=r"The archive .*photos\.tar is out of reach: .*no such file"):
        embed(job, 0, embedder=AnyModel(job.manifest))
    assert job.chunk_numbers(0) == []
    site.files["/photos.tar"] = tar
    assert embed(job, 0, embedder=AnyModel(job.manifest)).embedded == 5
