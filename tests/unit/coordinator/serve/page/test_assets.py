"""The files of the page: small, without a build and without anything from elsewhere, and nothing else is served."""

import posixpath
import re
from collections.abc import Iterator

import pytest

from coordinator.serve.page.assets import assets
from tests.support.http_api import Running, serving
from tests.support.make_job import make_job

MOST_BYTES = 100_000
IMPORT = re.compile(r'^import [^"]*?"([^"]+)"', re.MULTILINE)
LAZY = re.compile(r'import\("([^"]+)"\)')
ADDRESS = re.compile(r"https?://[^\s\"'`]+|(?<![:\w])//[a-z0-9-]+\.[a-z]+")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    photos = tmp_path_factory.mktemp("jobs") / "photos"
    make_job(photos)
    with serving(photos) as running:
        yield running


def text(path: str) -> str:
    return assets()[path].data.decode()


def joined(path: str, relative: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), relative))


def loaded_first() -> set[str]:
    """The modules that the page loads before it shows anything."""
    found, left = set[str](), ["main.js"]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            left += [joined(path, relative) for relative in IMPORT.findall(text(path))]
    return found


def test_every_import_is_of_a_file_that_is_served() -> None:
    modules = [path for path in assets() if path.endswith(".js")]
    assert len(modules) > 10
    for path in modules:
        for relative in [*IMPORT.findall(text(path)), *LAZY.findall(text(path))]:
            assert relative.startswith("."), (path, relative)
            assert joined(path, relative) in assets(), (path, relative)


def test_the_first_page_is_under_a_hundred_kilobytes() -> None:
    first = {"index.html", "style.css", "icon.svg"} | loaded_first()
    assert sum(len(assets()[path].data) for path in first) < MOST_BYTES


def test_the_page_names_its_modules_so_that_none_waits_for_another() -> None:
    named = re.findall(r'(?:modulepreload" href|module" src)="/page/([^"]+)"', text("index.html"))
    assert len(named) == len(set(named))
    assert set(named) == loaded_first()


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = text("index.html")
    assert re.findall(r"<script[^>]*>[^<]", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", page) == []
    for path in assets():
        found = [address for address in ADDRESS.findall(text(path)) if "www.w3.org" not in address]
        assert found == [], path


def test_the_page_and_its_files_are_served_with_their_types_and_kept_by_their_etag(running: Running) -> None:
    home = running.http.get("/")
    assert home.status_code == 200
    assert home.headers["content-type"].startswith("text/html")
    assert home.content == assets()["index.html"].data
    for path, media_type in (("main.js", "text/javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")):
        reply = running.http.get(f"/page/{path}")
        assert reply.headers["content-type"].startswith(media_type)
        assert reply.headers["content-security-policy"].startswith("default-src 'self'; img-src 'self' blob:;")
        again = running.http.get(f"/page/{path}", headers={"If-None-Match": f'"other", {reply.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert running.http.get(f"/page/{path}", headers={"If-None-Match": '"other"'}).content == reply.content


@pytest.mark.parametrize(
    "path",
    [
        "",
        "nothing.js",
        "../assets.py",
        "..%2fassets.py",
        "%2e%2e/assets.py",
        "static/main.js",
        "lib",
        "lib/",
        "/etc/passwd",
    ],
)
def test_nothing_else_is_served(running: Running, path: str) -> None:
    reply = running.http.get(f"/page/{path}")
    assert (reply.status_code, reply.headers["content-type"]) == (404, "application/problem+json")
