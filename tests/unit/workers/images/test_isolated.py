import os
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import SourceError
from shared.images.location import Location
from shared.images.paths import to_text
from shared.models.preprocessing import DECODES
from shared.processes import child
from workers.images import isolated
from workers.images.isolated import IsolatedReaders
from workers.images.read import read_image

pytestmark = pytest.mark.slow

LIMITS = (16, 10**6, 10**6)
# Reading processes of tests: one that reads as the real one does, but ends itself at some paths.
PROGRAM = """
import os, signal, sys, threading
from workers.images import isolated
def read(location, *limits):
    path = location.path
    if "abort" in path: os.abort()
    if "exit" in path: sys.exit(9)
    if "chance" in path and not os.path.exists(path + ".seen"):
        open(path + ".seen", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    if "endless" in path: threading.Event().wait()
    print("a library that prints")
    return real(location, *limits)
real, isolated.read_image = isolated.read_image, read
isolated.main(sys.argv[1:])
"""


@pytest.fixture
def readers() -> "IsolatedReaders":
    readers = IsolatedReaders(*LIMITS)
    readers.command = [sys.executable, "-c", PROGRAM, *readers.command[4:]]
    return readers


def photo(folder: Path, name: str) -> str:
    path = folder / name
    done, encoded = cv2.imencode(".png", np.random.default_rng(len(name)).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    assert done
    path.write_bytes(encoded.tobytes())
    return to_text(str(path))


@pytest.mark.parametrize("how", DECODES)
def test_an_image_read_alone_is_what_it_is_read_in_company(tmp_path: Path, how: str) -> None:
    paths = [photo(tmp_path, "new\nline and \N{CAT FACE}.png"), photo(tmp_path, "plain.png")]
    with IsolatedReaders(*LIMITS, how) as readers:
        for path in paths:
            alone, here = readers.read(Location(path)), read_image(Location(path), *LIMITS, how)
            assert alone.pixels is not None
            assert here.pixels is not None
            assert (alone.path, alone.status, alone.bytes, alone.sha256) == (path, "ok", here.bytes, here.sha256)
            assert (alone.width, alone.height) == (30, 40)
            np.testing.assert_array_equal(alone.pixels, here.pixels)
        moved = readers.read(Location("/listed/there.jpg", moved=path))
        assert (moved.path, moved.sha256) == ("/listed/there.jpg", here.sha256)
        gone = readers.read(Location(str(tmp_path / "gone.jpg")))
        assert (gone.status, gone.pixels) == ("vanished", None)
        assert len(readers._all) == 1, "one process reads them all"


@pytest.mark.parametrize(("name", "end"), [("abort.png", "signal SIGABRT"), ("exit.png", "exit status 9")])
def test_an_image_that_ends_its_process_twice_is_quarantined_and_the_next_is_read(
    readers: IsolatedReaders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, end: str
) -> None:
    monkeypatch.setattr(child, "END_SECONDS", 60.0)  # To be told how it ended, however slowly it does.
    bad, good = photo(tmp_path, name), photo(tmp_path, "good.png")
    with readers:
        assert readers.read(Location(good)).status == "ok"
        image = readers.read(Location(bad))
        assert (image.path, image.status, image.pixels) == (bad, "quarantined", None)
        assert f"({end}, {end})" in (image.error_message or "")
        assert readers.read(Location(good)).status == "ok"


def test_a_process_that_is_ended_by_chance_costs_no_image(readers: IsolatedReaders, tmp_path: Path) -> None:
    with readers:
        assert readers.read(Location(photo(tmp_path, "chance.png"))).status == "ok"


def test_a_reading_without_end_is_the_disks_fault(
    readers: IsolatedReaders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolated, "READ_SECONDS", 0.2)
    with readers, pytest.raises(SourceError, match="did not read"):
        readers.read(Location(photo(tmp_path, "endless.png")))


def test_each_thread_has_a_process_of_its_own_and_none_is_left(readers: IsolatedReaders, tmp_path: Path) -> None:
    path = photo(tmp_path, "good.png")
    with readers:
        threads = [threading.Thread(target=readers.read, args=(Location(path),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pids = {process.pid for process in readers._all}
        assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
