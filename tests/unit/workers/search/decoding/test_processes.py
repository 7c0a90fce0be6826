"""Query images are decoded in processes of their own: what a bad one costs, and which query it costs."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import ImageError, WorkerFailed
from shared.models.preprocessing import DECODES
from tests.support.images.ending_decoders import ending
from workers.images.decode import decode
from workers.search.decoding import processes
from workers.search.decoding.processes import DecodingProcesses

pytestmark = pytest.mark.slow

LIMITS = (16, 10**8)
MEMORY = 300_000_000
linux = pytest.mark.skipif(sys.platform != "linux", reason="Only Linux counts what a process takes by itself.")


@pytest.fixture
def decoders() -> Iterator[DecodingProcesses]:
    made = ending(DecodingProcesses(2, 60.0, MEMORY))
    yield made
    made.close()


def encoded(kind: str, pixels: np.ndarray) -> bytes:
    done, data = cv2.imencode(kind, pixels)
    assert done
    return data.tobytes()


def photo(seed: int = 0, kind: str = ".png") -> bytes:
    return encoded(kind, np.random.default_rng(seed).integers(0, 256, (90, 70, 3), dtype=np.uint8))


def error_of(decoders: DecodingProcesses, data: bytes, how: str = "reduced") -> ImageError:
    with pytest.raises(ImageError) as caught:
        decoders.decode(data, *LIMITS, how)
    return caught.value


@pytest.mark.parametrize("how", DECODES)
def test_an_image_is_decoded_there_as_it_is_here(how: str) -> None:
    decoders = DecodingProcesses(1, 60.0, MEMORY)
    try:
        for data in (photo(), photo(kind=".jpg"), photo(kind=".webp"), photo(kind=".tiff")):
            there, here = decoders.decode(data, *LIMITS, how), decode(data, *LIMITS, how)
            assert (there.width, there.height) == (70, 90)
            np.testing.assert_array_equal(there.pixels, here.pixels)
            (pid,) = decoders.pids
        for bad in (b"", b"no image\n", photo()[:-100], photo(kind=".jpg")[:-100]):
            with pytest.raises(ImageError) as here_error:
                decode(bad, *LIMITS, how)
            there_error = error_of(decoders, bad, how)
            assert (there_error.status, str(there_error)) == (here_error.value.status, str(here_error.value))
        assert decoders.pids == {pid}, "an image that is none ends nothing"
    finally:
        decoders.close()


@pytest.mark.parametrize(("word", "end"), [(b"crash", "signal SIGSEGV"), (b"exit", "exit status 9")])
def test_an_image_that_ends_two_processes_is_given_up_and_the_processes_are_there_again(
    decoders: DecodingProcesses, word: bytes, end: str
) -> None:
    decoders.start()
    before = decoders.pids
    error = error_of(decoders, word)
    assert error.status == "quarantined"
    assert f"({end}, {end})" in str(error)
    assert len(decoders.pids) == 2
    assert not decoders.pids & before, "each was tried in one"
    np.testing.assert_array_equal(decoders.decode(photo(), *LIMITS, "reduced").pixels, decode(photo(), *LIMITS).pixels)


def test_a_process_that_is_ended_by_chance_costs_no_query(decoders: DecodingProcesses, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    (tmp_path / "seen.png").write_bytes(photo())
    found = decoders.decode(b"chance " + bytes(seen), *LIMITS, "reduced")
    assert seen.exists(), "the first was ended"
    np.testing.assert_array_equal(found.pixels, decode(photo(), *LIMITS).pixels)


@pytest.mark.parametrize("word", [b"hang", b"stop"])
def test_an_image_without_end_is_ended_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch, word: bytes) -> None:
    monkeypatch.setattr(processes, "GRACE_SECONDS", 1.0)
    decoders = ending(DecodingProcesses(1, 0.5, MEMORY))
    try:
        decoders.start()  # And no more: on a busy machine half a second is too little for a photo as well.
        before = decoders.pids
        error = error_of(decoders, word)
        assert error.status == "quarantined"
        assert "within 0.5 s (the setting decode_seconds)" in str(error)
        assert len(decoders.pids) == 1
        assert decoders.pids != before
    finally:
        decoders.close()


@linux
def test_an_image_that_swells_is_refused_with_the_bound_and_ends_nothing(decoders: DecodingProcesses) -> None:
    decoders.start()
    before = decoders.pids
    error = error_of(decoders, b"swell")
    assert error.status == "oversized"
    assert "300,000,000 bytes of memory (the setting decode_memory_bytes)" in str(error)
    assert decoders.pids == before


@linux
@pytest.mark.parametrize("kind", ["bgr.png", "bgra.png", "bgr.tiff", "bgr.jp2"])
def test_the_memory_of_either_decoder_is_bounded(kind: str) -> None:
    channels, _, suffix = kind.rpartition(".")
    data = encoded(f".{suffix}", np.zeros((4000, 4000, len(channels)), np.uint8))
    tight, wide = DecodingProcesses(1, 60.0, 24_000_000), DecodingProcesses(1, 60.0, 1_000_000_000)
    try:
        assert error_of(tight, data).status == "oversized"
        assert tight.decode(photo(), *LIMITS, "reduced").pixels.shape == (16, 16, 3)
        assert wide.decode(data, *LIMITS, "reduced").pixels.shape == (16, 16, 3)
    finally:
        tight.close()
        wide.close()


def test_what_is_no_answer_is_given_to_nobody(decoders: DecodingProcesses) -> None:
    error = error_of(decoders, b"nonsense")
    assert error.status == "quarantined"
    assert "an answer that is none" in str(error)
    assert decoders.decode(photo(), *LIMITS, "reduced").pixels.shape == (16, 16, 3)


def test_each_of_many_threads_gets_the_pixels_of_its_own_image(decoders: DecodingProcesses) -> None:
    images = [photo(seed) if seed % 5 else b"crash" for seed in range(12)]

    def mean(data: bytes) -> np.ndarray | str:
        try:
            return decoders.decode(data, *LIMITS, "reduced").pixels
        except ImageError as error:
            return error.status

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(mean, images))
    for seed, pixels in enumerate(found):
        if seed % 5:
            np.testing.assert_array_equal(pixels, decode(images[seed], *LIMITS).pixels)
        else:
            assert pixels == "quarantined"
    assert len(decoders.pids) == 2


def test_a_process_that_can_not_be_started_is_a_sentence_and_the_next_try_another(decoders: DecodingProcesses) -> None:
    right = decoders.command
    decoders.command = ["/no/such/interpreter"]
    with pytest.raises(WorkerFailed, match="can't start a process that decodes query images"):
        decoders.decode(photo(), *LIMITS, "reduced")
    decoders.command = right
    assert decoders.decode(photo(), *LIMITS, "reduced").pixels.shape == (16, 16, 3)


@pytest.mark.parametrize("word", ["photo", "hang"])
def test_none_outlives_a_worker_that_is_killed(word: str, tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(photo())
    (tmp_path / "hang").write_bytes(b"hang ")
    worker = f"""
import os, signal, sys, threading
from pathlib import Path
from tests.support.images.ending_decoders import ending
from workers.search.decoding import processes
processes.GRACE_SECONDS = 60.0
decoders = ending(processes.DecodingProcesses(2, 5.0, {MEMORY}))
decoders.start()
decoders.decode(Path(sys.argv[1], "photo").read_bytes(), 16, 10**8, "reduced")
data = Path(sys.argv[1], sys.argv[2]).read_bytes()
threading.Thread(target=decoders.decode, args=(data, 16, 10**8, "reduced"), daemon=True).start()
print(*decoders.pids, flush=True)
threading.Event().wait()
"""
    # They share their standard error with the worker: its end is the end of them all.
    with subprocess.Popen(
        [sys.executable, "-c", worker, tmp_path, word], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert len(process.stdout.readline().split()) == 2
        process.kill()
        process.communicate(timeout=60)


def test_closing_ends_them_all(decoders: DecodingProcesses) -> None:
    decoders.start()
    assert len(decoders.pids) == 2
    processes = set(decoders._all)
    decoders.close()
    assert all(process.has_ended for process in processes)
