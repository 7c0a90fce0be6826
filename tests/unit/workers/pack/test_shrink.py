"""Images that end the process which shrinks them: found, and no more than a row of the pack."""

import hashlib
import subprocess
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from coordinator.pack import process
from coordinator.pack.create import Asked, make_or_open
from shared.errors import ImageError, PackError
from shared.pack.directory import PackDir
from shared.settings import Settings
from tests.support.images.photographs import make_photos
from workers.pack import reader, writer
from workers.pack.shrink import shrunk, shrunk_alone

pytestmark = pytest.mark.slow

SIZE = (60, 80)
# What each process of a pack runs instead of its module: the same, with a decoder that crashes over some images.
STAND_IN = """
import hashlib, signal, subprocess, sys
from pathlib import Path
from workers.pack import shrink, writer

real, run = shrink.decode_photo, subprocess.run

def decode_photo(data, longest, most):
    digest = hashlib.sha256(data).hexdigest()
    with Path({log!r}).open("a") as log:
        print(digest, *sys.argv[1:2], file=log)
    if digest in {poison!r}:
        signal.raise_signal(signal.SIGSEGV)
    return real(data, longest, most)

def again(command, **options):
    return run([command[0], __file__, *command[4:]], **options)

shrink.decode_photo, shrink.subprocess.run = decode_photo, again
sys.exit(shrink.main() if sys.argv[1].isdigit() else writer.main())
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("source") / "photos"
    make_photos(folder, 20, SIZE)
    return sorted(folder.iterdir())


def made(photos: list[Path], path: Path) -> PackDir:
    directory = PackDir.at(path)
    make_or_open(str(photos[0].parent), directory, Asked(longest=64, images_per_tar=6), Settings(), lambda count: None)
    return directory


def crashing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, poison: list[Path]) -> Path:
    """Has the decoder crash over each image of `poison`; returns a log with a line for each image it was given."""
    log, script = tmp_path / "decoded.txt", tmp_path / "stand_in.py"
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in poison}
    script.write_text(STAND_IN.format(log=str(log), poison=digests))
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        return real([command[0], str(script), *command[4:]], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    return log


def everything(directory: PackDir) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.path.glob("*.tar"))}


@pytest.mark.parametrize("lost", [[8], [0, 1, 8, 19]])
def test_an_image_that_crashes_the_decoder_is_a_row_and_the_pack_goes_on(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: list[int]
) -> None:
    directory = made(photos, tmp_path / "pack")
    log = crashing(monkeypatch, tmp_path, [photos[place] for place in lost])
    with process.packer(directory, 3, None) as said:
        result = [told["result"] for told in said if "result" in told]
    assert [(whole["packed"], whole["failed"]) for whole in result] == [(20 - len(lost), len(lost))]
    errors = pq.read_table(directory.errors).to_pylist()
    assert [(row["id"], row["status"]) for row in errors] == [(place, "quarantined") for place in lost]
    assert all("came to its end by it (signal SIGSEGV, signal SIGSEGV)" in row["error_message"] for row in errors)
    tried = log.read_text().split("\n")
    for place in lost:
        digest = hashlib.sha256(photos[place].read_bytes()).hexdigest()
        # A process that another image ends may have had this one in hand and not yet begun.
        assert tried.count(f"{digest} {directory.path}") <= 1, "no process of the pack meets it twice"
        # Those that come before it in its tar are decoded alone again, each time that another process takes over.
        assert tried.count(f"{digest} 64") >= 2, "two processes of its own end before it is given up"
    kept = {row["id"] for row in pq.read_table(directory.table).to_pylist()}
    assert kept == set(range(20)) - set(lost)


def test_what_an_innocent_suspect_becomes_is_what_it_would_have_been(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, suspected = made(photos, tmp_path / "plain"), made(photos, tmp_path / "suspected")
    alone = []

    def noted(data: bytes, longest: int, quality: int, most_pixels: int) -> bytes:
        alone.append(data)
        return shrunk_alone(data, longest, quality, most_pixels)

    monkeypatch.setattr(reader, "shrunk_alone", noted)
    writer.pack(plain, 2, threading.Event(), lambda count: None)
    assert not alone
    writer.pack(suspected, 2, threading.Event(), lambda count: None, suspects=[2, 3])
    assert sorted(alone) == sorted(photos[place].read_bytes() for place in (2, 3))
    assert everything(suspected) == everything(plain)
    assert len(everything(plain)) == 4


def test_a_pack_that_crashes_over_nothing_it_can_name_is_not_begun_again(
    photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        started.append(command)
        return real([command[0], "-c", "import os; os.abort()"], **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    with (
        pytest.raises(PackError, match="SIGABRT"),
        process.packer(made(photos, tmp_path / "pack"), 1, None) as said,
    ):
        list(said)
    assert len(started) == 1


def test_a_process_alone_gives_the_same_bytes_or_the_same_error(photos: list[Path]) -> None:
    data = photos[0].read_bytes()
    alone = shrunk_alone(data, 40, 80, 10**6)
    assert alone == shrunk(data, 40, 80, 10**6)
    image = cv2.imdecode(np.frombuffer(alone, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert max(image.shape) == 40
    errors = []
    for way in (shrunk, shrunk_alone):
        with pytest.raises(ImageError) as caught:
            way(data[: len(data) // 2], 40, 80, 10**6)
        errors.append((caught.value.status, str(caught.value)))
    assert errors[0] == errors[1]


def test_an_image_that_never_comes_to_an_end_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **options: Any) -> Any:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(ImageError, match=r"\(no end within 120 s, no end within 120 s\)") as caught:
        shrunk_alone(b"", 40, 80, 10**6)
    assert caught.value.status == "quarantined"
