"""Files without suffix whose first bytes are those of an image are listed if a person asks for it."""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from coordinator.jobs.create import make_or_open
from coordinator.jobs.source.changes import since_listed
from coordinator.sources.choosing import Choice, choice_of
from coordinator.sources.resolve import open_source
from shared.errors import CorruptFile, JobMismatch, SourceError, UsageError
from shared.images.kinds import HEAD_BYTES, is_image
from shared.images.location import read_bytes
from shared.images.paths import split_member
from shared.job.directory import JobDir
from shared.job.manifest import load_manifest
from shared.job.opened import open_job
from shared.settings import Settings
from tests.support.images.forms import write_tar, write_zip
from workers.images.decode import decode

SNIFF = Choice(sniff=True)
PIXELS = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3)).astype(np.uint8))
KINDS: dict[str, dict[str, Any]] = {
    "JPEG": {}, "MPO": {}, "PNG": {}, "WEBP": {}, "GIF": {}, "BMP": {}, "TIFF": {}, "JPEG2000": {}, "AVIF": {},
    "PPM": {}, "DDS": {}, "JPEG2000 stream": {"no_jp2": True},
}  # fmt: skip
NO_IMAGES = {
    "text": b"PNG is a format", "letters": b"BM, the two of us, and a long sentence", "netpbm": b"P5 is not a header",
    "riff": b"RIFF\x10\0\0\0WAVEfmt " + bytes(20), "empty": b"",
    "heif of another kind": b"\0\0\0\x18ftypmif1\0\0\0\0mif1unci" + bytes(40), "mp4": b"\0\0\0\x18ftypmp42" + bytes(40),
    "gif": b"GIF8", "zip": b"PK\3\4" + bytes(40), "elf": b"\x7fELF" + bytes(40), "psb": b"8BPS\0\2" + bytes(40),
}  # fmt: skip


def image(kind: str) -> bytes:
    out = io.BytesIO()
    PIXELS.save(out, kind.partition(" ")[0], **KINDS.get(kind, {}))
    return out.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_what_begins_as_an_image_is_one_that_can_be_decoded(kind: str) -> None:
    data = image(kind)
    assert is_image(data[:HEAD_BYTES])
    assert decode(data, 64, 10**6).pixels.shape == (64, 64, 3)
    if kind == "TIFF":
        assert is_image(b"MM\0*\0\0\0\x08" + bytes(24))


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", b"8BPS\0\1\0\0\0\0\0\0",
        b"qoif\0\0\0\x1e", b"\xff\x0a\x7f", b"\0\0\0\x0cJXL \r\n\x87\n", b"II*\0\x10\0\0\0CR\x02\0",
        b"FUJIFILMCCD-RAW 02", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", b"IIRO\x08\0\0\0", b"\0MRM\0\0",
        b"IIU\0\x18\0\0\0", b"FOVb\0\0",
    ],
)  # fmt: skip
def test_what_telephones_and_painters_write_begins_as_an_image(head: bytes) -> None:
    assert is_image(head)


@pytest.mark.parametrize("kind", NO_IMAGES)
def test_what_begins_otherwise_is_none(kind: str) -> None:
    assert not is_image(NO_IMAGES[kind][:HEAD_BYTES])


FILES = {
    "a": image("JPEG"), "b/c": image("PNG"), "b/d.jpg": b"", "b/e": image("GIF"), "b/README": b"words",
    "f.bin": image("PNG"),
    "b/c.json": b'{"n": 1}', "g": b"", "@eaDir/h": image("PNG"), "b/Ü": image("WEBP"),
}  # fmt: skip
FOUND = {"a", "b/c", "b/d.jpg", "b/e", "b/Ü"}


def folder(root: Path) -> str:
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return str(root)


def tar(root: Path) -> str:
    root.mkdir()
    return str(write_tar(root / "photos.tar", FILES))


def zipped(root: Path) -> str:
    root.mkdir()
    return str(write_zip(root / "photos.zip", FILES))


def stored(root: Path) -> str:
    root.mkdir()
    return str(write_zip(root / "photos.zip", FILES, zipfile.ZIP_STORED))


def remote(root: Path) -> str:
    fs = fsspec.filesystem("memory")
    for name, data in FILES.items():
        fs.pipe_file(f"/photos/{name}", data)
    return "memory://photos"


def globbed(root: Path) -> str:
    return f"{folder(root)}/*"


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    yield
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


@pytest.mark.parametrize("write", [folder, tar, zipped, stored, remote, globbed])
def test_files_without_suffix_are_looked_into_where_that_is_asked_for(
    tmp_path: Path, write: Callable[[Path], str]
) -> None:
    source = write(tmp_path / "photos")

    def names(choice: Choice) -> tuple[set[str], dict[str, int], int]:
        listing = open_source(source, choice=choice)
        images = list(listing.images)
        named = {(split_member(one.path) or ("", one.path.rpartition("photos/")[2]))[1]: one for one in images}
        assert len(named) == len(images)
        for name, one in named.items():
            assert read_bytes(one.path, 1 << 20, one.member) == FILES[name]
        return set(named), dict(listing.left_out), sum(dict(i.known) == {"n": 1} for i in images)

    assert names(SNIFF) == (FOUND, {"@eaDir": 1, ".bin": 1, "without suffix and no image": 2}, 1)
    plain = names(Choice())
    assert plain == ({"b/d.jpg"}, {"@eaDir": 1, ".bin": 1, ".json": 1, "without suffix": 6}, 0)


def test_what_can_not_be_looked_into_is_no_image_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nothing").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "image").symlink_to(tmp_path / "real.dat")
    (tmp_path / "real.dat").write_bytes(image("PNG"))
    listing = open_source(str(tmp_path), choice=SNIFF)
    assert list(listing) == [f"{tmp_path}/a.jpg", f"{tmp_path}/image"]
    assert listing.left_out == {"not a regular file": 1, "link to nothing": 1, ".dat": 1}


def test_sniffing_is_the_jobs_and_is_hinted_at(tmp_path: Path) -> None:
    source, job = folder(tmp_path / "photos"), JobDir(tmp_path / "job")
    plain = JobDir(tmp_path / "plain")

    def made(job: JobDir, choice: Choice) -> None:
        make_or_open(source, job, Settings(), lambda count: None, choice)

    made(job, SNIFF)
    job = open_job(job)
    assert (job.listed, choice_of(job.manifest.source)) == (5, SNIFF)
    made(job, Choice())
    made(job, SNIFF)
    (tmp_path / "photos/new").write_bytes(image("PNG"))
    assert since_listed(source, job)[0].startswith(f"{source} has 1 image that this job does not hold")
    made(plain, Choice())
    assert "sniff" not in json.loads(plain.spec.read_text())["source"]
    with pytest.raises(JobMismatch, match="leave the option sniff out"):
        made(plain, SNIFF)
    (tmp_path / "photos/b/d.jpg").unlink()
    with pytest.raises(SourceError, match=r"--sniff looks into files without suffix whether they are images\.$"):
        make_or_open(source, JobDir(tmp_path / "none"), Settings(), lambda count: None)
    table = json.loads(job.spec.read_text())
    table["source"]["sniff"] = "yes"
    job.spec.write_text(json.dumps(table))
    with pytest.raises(CorruptFile, match="not a whole manifest"):
        load_manifest(job)
    (tmp_path / "list.txt").write_text("a\n")
    with pytest.raises(UsageError, match="leave the option exclude and include and sniff out"):
        open_source(str(tmp_path / "list.txt"), choice=SNIFF)
