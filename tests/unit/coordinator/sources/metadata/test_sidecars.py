"""Which texts belong to which images: one rule in folders, behind URLs, in globs, tars and zips."""

import io
import json
import random
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.jobs.create import make_or_open
from coordinator.sources import webdataset
from coordinator.sources.choosing import Choice
from coordinator.sources.listing import Listing
from coordinator.sources.metadata.sidecars import Sidecars
from coordinator.sources.resolve import open_source
from shared.images.paths import split_member
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.settings import Settings
from tests.support.images.forms import write_tar, write_zip

Files = dict[str, bytes]


def folder(root: Path, files: Files) -> str:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return str(root)


def tar(root: Path, files: Files) -> str:
    root.mkdir(parents=True, exist_ok=True)
    return str(write_tar(root / "photos.tar", files))


def zipped(root: Path, files: Files) -> str:
    root.mkdir(parents=True, exist_ok=True)
    return str(write_zip(root / "photos.zip", files))


def remote(root: Path, files: Files) -> str:
    fs = fsspec.filesystem("memory")
    for name, data in files.items():
        fs.pipe_file(f"/photos/{name}", data)
    return "memory://photos"


def globbed(root: Path, files: Files) -> str:
    return f"{folder(root, files)}/**/*.*"


def globbed_remotely(root: Path, files: Files) -> str:
    return f"{remote(root, files)}/**/*.*"


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    yield
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def known(listing: Listing, root: str = "photos/") -> dict[str, Any]:
    """What is known of each image by its name; None for nothing."""
    found: dict[str, Any] = {}
    for image in listing.images:
        inside = split_member(image.path)
        name = inside[1] if inside else image.path.rpartition(root)[2]
        assert name not in found
        found[name] = dict(image.known) or None
    return found


def caption(text: str) -> bytes:
    return json.dumps({"caption": text}).encode()


CASES: dict[str, tuple[Files, dict[str, Any], Counter[str], Counter[str]]] = {
    "dates": (
        {f"2024.01.{day:02d}.{kind}": caption(f"day {day}") for day in range(1, 7) for kind in ("jpg", "json")},
        {f"2024.01.{day:02d}.jpg": {"caption": f"day {day}"} for day in range(1, 7)},
        Counter(),
        Counter({".json taken as metadata": 6}),
    ),
    "a date without its text, a text without its image": (
        {"2024.01.01.jpg": b"", "2024.01.02.jpg": b"", "2024.01.01.json": caption("one"), "2024.01.03.json": b"{}"},
        {"2024.01.01.jpg": {"caption": "one"}, "2024.01.02.jpg": None},
        Counter({".json": 1}),
        Counter({".json taken as metadata": 1}),
    ),
    "webdataset": (
        {"0/1.jpg": b"", "0/1.json": caption("a"), "0/1.txt": b"words", "0/1.cls": b"7",
         "0/2.jpg": b"", "1/1.jpg": b""},
        {"0/1.jpg": {"caption": "a", "txt": "words", "cls": 7}, "0/2.jpg": None, "1/1.jpg": None},
        Counter(),
        Counter({".json taken as metadata": 1, ".txt taken as metadata": 1, ".cls taken as metadata": 1}),
    ),
    "one text for several": (
        {"x.left.jpg": b"", "x.right.jpg": b"", "x.json": caption("both"), "y.jpg": b""},
        {"x.left.jpg": {"caption": "both"}, "x.right.jpg": {"caption": "both"}, "y.jpg": None},
        Counter(),
        Counter({".json taken as metadata by the beginning of its name": 1}),
    ),
    "an image beside another's text": (
        {"x.jpg": b"", "x.mask.png": b"", "x.json": caption("x")},
        {"x.jpg": {"caption": "x"}, "x.mask.png": None},
        Counter(),
        Counter({".json taken as metadata": 1, "image without metadata beside that of a shorter name": 1}),
    ),
    "takeout": (
        {"IMG_1.jpg": b"", "IMG_1.jpg.json": caption("one"), "IMG_2.JPG": b"", "IMG_1.png": b"",
         "IMG_2.JPG.supplemental-metadata.json": caption("two"), "metadata.json": b"{}"},
        {"IMG_1.jpg": {"caption": "one"}, "IMG_2.JPG": {"caption": "two"}, "IMG_1.png": None},
        Counter({".json": 1}),
        Counter({".json taken as metadata": 1, ".json taken as metadata by the beginning of its name": 1}),
    ),
    "the nearer one's word counts": (
        {"a.jpg": b"", "a.json": b'{"n": 1, "m": 1}', "a.jpg.json": b'{"n": 2}', "a.meta.json": b'{"n": 0, "k": 0}'},
        {"a.jpg": {"n": 2, "m": 1, "k": 0}},
        Counter(),
        Counter({".json taken as metadata": 2, ".json taken as metadata by the beginning of its name": 1}),
    ),
    "raw and jpeg": (
        {"a.jpg": b"", "a.png": b"", "a.JSON": caption("both"), "b/a.jpg": b""},
        {"a.jpg": {"caption": "both"}, "a.png": {"caption": "both"}, "b/a.jpg": None},
        Counter(),
        Counter({".json taken as metadata": 1}),
    ),
    "texts alone": ({"a.jpg": b"", "b/a.json": b"{}", "b/notes.txt": b"x"}, {"a.jpg": None},
                    Counter({".json": 1, ".txt": 1}), Counter()),
}  # fmt: skip


@pytest.mark.parametrize("write", [folder, remote, tar, zipped, globbed, globbed_remotely])
@pytest.mark.parametrize("case", CASES)
def test_a_text_belongs_to_the_image_of_its_name_in_every_kind_of_source(
    tmp_path: Path, write: Callable[[Path, Files], str], case: str
) -> None:
    files, expected, left_out, notes = CASES[case]
    listing = open_source(write(tmp_path / "photos", files))
    assert known(listing) == expected
    assert (listing.left_out, listing.notes) == (left_out, notes)


@pytest.mark.parametrize("write", [tar, zipped])
@pytest.mark.parametrize("seed", range(3))
def test_texts_find_their_images_wherever_they_lie_in_an_archive(
    tmp_path: Path, write: Callable[[Path, Files], str], seed: int
) -> None:
    names = [f"2024.{number}.{kind}" for number in range(20) for kind in ("jpg", "json", "txt")]
    random.Random(seed).shuffle(names)
    source = write(tmp_path / "photos", {name: caption(name) for name in names})
    found = known(open_source(source))
    assert list(found) == [name for name in names if name.endswith("jpg")]
    for name, values in found.items():
        stem = name.removesuffix(".jpg")
        assert values == {"caption": f"{stem}.json", "txt": caption(f"{stem}.txt").decode()}


def test_samples_of_one_name_in_tars_put_end_to_end_keep_their_own_texts(tmp_path: Path) -> None:
    parts = [
        [("0.jpg", b""), ("0.json", caption("first")), ("1.jpg", b""), ("1.json", caption("second"))],
        [("0.jpg", b""), ("1.jpg", b""), ("0.json", caption("third")), ("1.json", caption("fourth"))],
        [("0.jpg", b""), ("2.jpg", b"")],
    ]

    def joined(some: list[list[tuple[str, bytes]]]) -> list[Any]:
        whole = b""
        for part in some:
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as archive:
                for name, data in part:
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
            whole += out.getvalue()
        (tmp_path / "x.tar").write_bytes(whole)
        return [image.known.get("caption") for image in open_source(str(tmp_path / "x.tar")).images]

    assert joined(parts[:2]) == ["first", "second", "third", "fourth"]
    assert joined([parts[0], parts[0]]) == ["first", "second", "first", "second"]
    assert joined([parts[0], parts[2]]) == ["first", "second", "first", None]


def test_an_archive_of_more_files_than_are_matched_at_once_loses_no_text_of_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset, "AT_ONCE", 5)
    files = {f"{number}.{kind}": caption(str(number)) for number in range(20) for kind in ("json", "jpg")}
    listing = open_source(tar(tmp_path, files))
    assert known(listing) == {f"{number}.jpg": {"caption": str(number)} for number in range(20)}
    assert (listing.left_out, listing.notes) == ({}, {".json taken as metadata": 20})


@pytest.mark.parametrize("write", [folder, remote, tar, zipped])
def test_texts_that_can_not_be_taken_are_counted_and_their_images_listed(
    tmp_path: Path, write: Callable[[Path, Files], str]
) -> None:
    files = {"a.jpg": b"", "a.json": b"x" * ((1 << 20) + 1), "b.jpg": b"", "b.json": b"[1, 2]", "c.jpg": b"",
             "c.txt": "\ufeffé ".encode(), "d.jpg": b"", "d.cls": b"12", "e.jpg": b"", "e.cls": b"cat"}  # fmt: skip
    listing = open_source(write(tmp_path / "photos", files))
    assert known(listing) == {
        "a.jpg": None, "b.jpg": {"json": "[1, 2]"}, "c.jpg": {"txt": "é"}, "d.jpg": {"cls": 12}, "e.jpg": {"cls": "cat"}
    }  # fmt: skip
    assert listing.left_out == {".json of over 1,048,576 bytes": 1}


def test_a_text_of_a_folder_that_can_not_be_read_is_counted(tmp_path: Path) -> None:
    folder(tmp_path / "photos", {"a.jpg": b"", "b.jpg": b"", "b.json": caption("b")})
    (tmp_path / "photos/a.json").symlink_to("nowhere")
    (tmp_path / "photos/c.json").mkdir()
    (tmp_path / "photos/c.jpg").touch()
    listing = open_source(str(tmp_path / "photos"))
    assert known(listing) == {"a.jpg": None, "b.jpg": {"caption": "b"}, "c.jpg": None}
    assert listing.left_out == {"link to nothing": 1}


def test_a_text_that_is_excluded_is_not_read(tmp_path: Path) -> None:
    files = {"a.jpg": b"", "a.json": caption("a"), "a.txt": b"words", "._a.json": b"\0"}
    for write in (folder, remote, tar, zipped):
        listing = open_source(write(tmp_path / write.__name__ / "photos", files), choice=Choice(("*.json",)))
        assert known(listing) == {"a.jpg": {"txt": "words"}}
        assert listing.left_out == {"._*": 1, "excluded by *.json": 1}


def test_names_that_are_no_utf8_have_their_texts(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for kind, data in (("jpg", b""), ("json", caption("ä"))):
        (tmp_path / "photos" / f"caf\udce9.1.{kind}").write_bytes(data)
    ((image),) = open_source(str(tmp_path / "photos")).images
    assert (image.path, dict(image.known)) == (f"file://{tmp_path}/photos/caf%E9.1.jpg", {"caption": "ä"})


@pytest.mark.parametrize("count", [1, 255, 256, 257, 600])
def test_texts_of_a_folder_are_read_ahead_and_none_for_another(tmp_path: Path, count: int) -> None:
    files = {f"{number}.jpg": b"" for number in range(count)}
    files |= {f"{number}.json": caption(str(number)) for number in range(0, count, 2)}
    found = known(open_source(folder(tmp_path / "photos", files)))
    assert found == {f"{n}.jpg": None if n % 2 else {"caption": str(n)} for n in range(count)}


def test_what_was_taken_is_kept_in_the_job_and_serves_searches(tmp_path: Path) -> None:
    source, job = folder(tmp_path / "photos", CASES["dates"][0]), JobDir(tmp_path / "job")
    job = make_or_open(source, job, Settings(partition_size=4), lambda count: None)
    assert (job.manifest.source.known, job.manifest.source.notes) == (
        {"caption": "string"},
        {".json taken as metadata": 6},
    )
    assert load_manifest(job) == job.manifest
    rows = [row for number in range(2) for row in pq.read_table(job.paths(number)).to_pylist()]
    assert [row["caption"] for row in rows] == [f"day {day}" for day in range(1, 7)]


def test_a_folder_that_is_compared_or_packed_has_no_text_read(tmp_path: Path) -> None:
    source = folder(tmp_path / "photos", {"a.jpg": b"", "a.json": b"{}"})
    tar(tmp_path / "photos", {"x.jpg": b""})
    listing = open_source(source, texts=False, archives=False)
    assert known(listing) == {"a.jpg": None}
    assert (listing.left_out, listing.notes) == ({".json": 1}, {})


NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)


@given(
    st.sets(st.builds("{}.{}".format, NAMES, st.sampled_from(["jpg", "png"])), min_size=1),
    st.sets(st.builds("{}.json".format, NAMES)),
)
def test_every_text_has_its_images_or_is_an_orphan(images: set[str], texts: set[str]) -> None:
    sidecars = Sidecars(images, texts, Counter())
    owners: dict[str, set[str]] = {text: set() for text in texts}
    for image in images:
        own = sidecars.of(image)
        assert len(own) == len(set(own))
        for text in own:
            owners[text].add(image)
    assert {text for text in texts if not owners[text]} == set(sidecars.orphans)
    for text, some in owners.items():
        name = text.removesuffix(".json")
        same = {image for image in images if name in (image, image[:-4])}
        assert not same or some == same
        for image in some - same:
            assert f"{image}.".startswith(f"{name}.") or f"{name}.".startswith(f"{image[:-4]}.")
