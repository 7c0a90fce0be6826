"""Timing a sample: what the process measures, and what the command makes of it."""

import json
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from coordinator.doctor import timing
from coordinator.doctor.checks import Check
from coordinator.doctor.source_sample import ListedSource, list_source
from coordinator.doctor.timing import disk_felt, readable, slowest, timed_sample_of, to_json
from shared.errors import LookalikeError, WorkerFailed
from shared.images.location import Location
from shared.settings import Settings
from tests.support.timed_sample import LISTED, MEASURED, SPEC, made
from workers.embed import partition
from workers.evaluate.doctor.sample import BATCHES_AHEAD, sample, watched
from workers.evaluate.doctor.sample import run as run_sample
from workers.images.isolated import IsolatedReaders
from workers.tasks.runtime import Runtime

LIMITS = (10**8, 10**8)


class Embedder:
    """Takes a tick of the test's clock for each image of a call."""

    fingerprint, dim, image_size, batch_size = "m", 4, 32, 4

    def __init__(self, tick: Callable[[float], None] = lambda seconds: None) -> None:
        self.calls: list[int] = []
        self._tick = tick

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert images.dtype == np.uint8
        assert images.shape[1:] == (32, 32, 3)
        self.calls.append(len(images))
        self._tick(len(images))
        return np.ones((len(images), 4), np.float32)


def photos(folder: Path, count: int) -> list[Location]:
    random = np.random.default_rng(0)
    paths = [str(folder / f"{number}.jpg") for number in range(count)]
    for path in paths:
        cv2.imwrite(path, random.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    return [Location(path) for path in paths]


def test_all_go_through_the_model_in_batches_and_are_counted(tmp_path: Path) -> None:
    paths = photos(tmp_path, 10)
    told: list[int] = []
    embedder = Embedder()
    found = sample(paths, embedder, LIMITS, 2, 60, told.append)
    assert embedder.calls == [4, 4, 2]
    assert told == [4, 8, 10]
    assert (found.read, found.embedded, found.failed) == (10, 10, {})
    assert found.bytes == sum(Path(location.path).stat().st_size for location in paths)
    assert [count for count, _ in found.marks] == [4, 8, 10]
    assert [at for _, at in found.marks] == sorted(at for _, at in found.marks)
    assert found.spent["read"] > 0
    assert found.spent["decode"] > 0


def test_the_stage_that_holds_up_the_others_is_found(tmp_path: Path) -> None:
    clock = [0.0]

    def tick(seconds: float) -> None:
        clock[0] += seconds

    found = sample(photos(tmp_path, 8), Embedder(tick), LIMITS, 2, 60, lambda count: None, lambda: clock[0])
    assert found.load is not None
    assert found.load.bottleneck == "model"
    assert found.load.held_up["model"] == 1.0
    assert found.spent["model"] == 8.0
    assert found.marks == [(4, 4.0), (8, 8.0)]


def test_it_ends_when_its_time_is_up(tmp_path: Path) -> None:
    clock = [0.0]
    embedder = Embedder(lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    found = sample(photos(tmp_path, 40), embedder, LIMITS, 2, 6, lambda count: None, lambda: clock[0])
    assert (found.read, found.marks) == (8, [(4, 4.0), (8, 8.0)])


def test_failed_images_are_counted_by_status_and_some_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image at all\n")
    bad = [Location(str(tmp_path / name)) for name in ("text.jpg", "gone0.jpg", "gone1.jpg", "gone2.jpg", "gone3.jpg")]
    found = sample([*photos(tmp_path, 3), *bad], Embedder(), LIMITS, 2, 60, lambda count: None)
    assert (found.read, found.embedded) == (8, 3)
    assert found.failed == {"not-an-image": 1, "vanished": 4}
    assert [Path(example["path"]).name for example in found.examples] == ["text.jpg", "gone0.jpg", "gone1.jpg"]
    assert found.examples[1]["error"] == "The file was listed, but is no longer there."


def test_a_source_of_which_nothing_can_be_read_is_no_embedding(tmp_path: Path) -> None:
    embedder = Embedder()
    found = sample([Location(str(tmp_path / "gone.jpg"))] * 3, embedder, LIMITS, 2, 60, lambda count: None)
    assert (found.read, found.embedded, embedder.calls) == (3, 0, [])
    assert sample([], embedder, LIMITS, 2, 60, lambda count: None).marks == []


@pytest.mark.parametrize("name", ["photos.tar", "photos.zip"])
def test_an_image_in_an_archive_is_read_by_its_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    photos(tmp_path, 3)
    if name.endswith(".tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            for number in range(3):
                tar.add(tmp_path / f"{number}.jpg", f"{number}.jpg")
    else:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for number in range(3):
                archive.write(tmp_path / f"{number}.jpg", f"{number}.jpg")
    listed = list_source(str(tmp_path / name), 60, lambda count: None)
    assert all(location.member is not None for location in listed.sample)
    monkeypatch.setattr("workers.evaluate.doctor.sample.loaded_embedder", lambda spec, model_dir, settings: Embedder())
    request = {
        "images": [asdict(location) for location in listed.sample], "listed": 3, "spec": SPEC.to_json(),
        "model_dir": "/", "threads": None, "seconds": 60, "limits": list(LIMITS), "alone": False, "features": False,
    }  # fmt: skip
    measured = run_sample(json.loads(json.dumps(request)), Settings())
    assert (measured["embedded"], measured["failed"]) == (3, {})
    assert measured["threads"] == partition.reading_threads(listed.sample)


def test_the_process_says_what_the_command_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("workers.evaluate.doctor.sample.loaded_embedder", lambda spec, model_dir, settings: Embedder())
    paths = photos(tmp_path, 10)
    request = {
        "images": [asdict(location) for location in paths], "listed": 10, "spec": SPEC.to_json(), "model_dir": "/",
        "threads": 2, "seconds": 60,
        "limits": list(LIMITS), "alone": False, "features": True,
    }  # fmt: skip
    measured = json.loads(json.dumps(run_sample(request, Settings())))
    phases = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert phases == [{"phase": "sampling", "images": count} for count in (0, 4, 8, 10)]
    listed = ListedSource("folder", "/photos", count=1_000, path_bytes=40_000, complete=True, sample=paths)
    found = timed_sample_of(listed, measured, SPEC, Settings(copies="on"))
    assert found.prediction is not None
    assert found.prediction.images == 1_000
    assert found.prediction.features == 1_000 * (measured["feature_bytes"] / 10 + 40) > 40_000
    assert found.prediction.embeddings == 1_000 * 2 * 4 + 128
    assert measured["index"]["type"] == "Flat"
    assert measured["peak_bytes"] > 10**7
    assert json.loads(json.dumps(to_json(found)))["prediction"]["memory"] == found.prediction.memory


def test_a_disk_that_hangs_while_the_sample_is_read_ends_the_process(capfd: pytest.CaptureFixture[str]) -> None:
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    with watched(0.01, end):
        assert ended.wait(60)
    assert codes == [1]
    said = json.loads(capfd.readouterr().out)["error"]
    assert said["kind"] == "SourceError"
    assert said["message"].startswith("The images did not come within 0.01 s: their disk hangs.")


def test_a_sample_that_comes_in_time_ends_nothing() -> None:
    ended = threading.Event()
    before = set(threading.enumerate())
    with watched(3_600, lambda code: ended.set()):
        pass
    assert not ended.is_set()
    begun = [thread for thread in threading.enumerate() if thread not in before and isinstance(thread, threading.Timer)]
    assert all(thread.finished.is_set() for thread in begun)


def told(found: Check | None) -> tuple[str, str]:
    assert found is not None
    return str(found.verdict), found.sentence


@pytest.mark.parametrize(
    ("read", "failed", "verdict", "words"),
    [
        (100, {}, "ok", "All 100 images that were tried can be read."),
        (100, {"vanished": 2, "truncated": 3}, "ok", "5 of 100 images failed (3 truncated, 2 vanished), such as "),
        (100, {"vanished": 6}, "warning", "no longer there. See to it before days go into the rest."),
        (100, {"vanished": 100}, "problem", "Check that SOURCE names what you mean"),
        (0, {}, "problem", "No image came within the time"),
    ],
)
def test_images_that_fail(read: int, failed: dict[str, int], verdict: str, words: str) -> None:
    found = readable(made(read=read, failed=failed))
    assert str(found.verdict) == verdict
    assert words in found.sentence


def test_the_bottleneck_comes_with_what_helps() -> None:
    assert told(slowest(made(), LISTED)) == (
        "ok",
        "Model, at 10 images/s in one embed worker: a GPU, --precision bf16 where the CPU has it, more machines or a "
        "smaller --model help.",
    )
    held = {"read": 0.9, "decode": 0.0, "model": 0.1, "write": 0.0}
    found = made(load=MEASURED["load"] | {"held_up": held}, marks=[[100, 400.0]])
    assert told(slowest(found, LISTED))[1].startswith(
        "Read, at 0.25 images/s in one embed worker: the images come too slowly"
    )
    assert slowest(made(embedded=0, marks=[]), LISTED) is None
    # Ten a second embed these thousand in 100 s.
    late = replace(LISTED, seconds=101.0)
    assert told(slowest(made(), late))[1].startswith("List, at 10 images/s in one embed worker: the names come too")


def test_images_out_of_memory_say_nothing_of_the_disk() -> None:
    assert disk_felt(made()) is None
    assert disk_felt(made(bytes_from_disk=None)) is None
    verdict, sentence = told(disk_felt(made(bytes_from_disk=1_000)))
    assert verdict == "ok"
    assert sentence.startswith("Of 10.0 kB the system fetched 1.0 kB from a disk now")


def test_a_quarter_without_images_is_null_for_programs() -> None:
    assert to_json(made(marks=[[0, 3.0], [100, 4.0]]))["prediction"]["high"] is None
    assert to_json(made(embedded=0))["prediction"] is None


def run(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> tuple[timing.TimedSample | None, list[Check], list[str]]:
    doing: list[str] = []
    left = list(answers)

    def result_of(module: str, arguments: list[str], told: Callable[[Any], None], **options: Any) -> Any:
        assert module == "workers.evaluate.doctor.sample"
        assert options["request"]["images"] == [{"path": "/photos/a.jpg", "member": None, "moved": None}]
        assert options["request"]["alone"] == (len(left) < len(answers)), "all are read alone the second time"
        assert options["seconds"] == timing.LOAD_SECONDS + 20 + 60
        answer = left.pop(0)
        if isinstance(answer, Early):
            raise WorkerFailed(str(answer))
        told({"phase": "sampling", "images": 1_234})
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(timing, "result_of", result_of)
    found, checks = timing.run(LISTED, SPEC, Path(), Settings(), seconds=20, environment={}, told=doing.append)
    assert not left
    return found, checks, doing


class Early(Exception):
    """The process ends before it reads an image."""


def test_a_sample_is_three_checks_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    found, checks, doing = run(monkeypatch, MEASURED)
    assert found is not None
    assert doing == ["loading the model", "1,234 images read"]
    assert [check.subject for check in checks] == ["sample", "bottleneck"]


def test_a_process_that_fails_is_a_problem_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    found, (check,), _ = run(monkeypatch, LookalikeError("There are no weights."))
    assert found is None
    assert told(check) == ("problem", "There are no weights.")
    found, (check,), _ = run(monkeypatch, Early("It ended with signal SIGSEGV."))
    assert told(check) == ("problem", "It ended with signal SIGSEGV.")
    crashed = WorkerFailed("It ended with signal SIGSEGV.")
    found, (check,), _ = run(monkeypatch, crashed, crashed)
    assert found is None
    assert told(check) == (
        "problem",
        "It ended with signal SIGSEGV.\nNo image ended it: each was read in a process of its own.",
    )


def test_an_image_that_ends_the_process_is_a_quarantined_one_of_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"failed": {"quarantined": 1}, "embedded": 99}
    found, checks, doing = run(monkeypatch, WorkerFailed("It ended with signal SIGSEGV."), MEASURED | failed)
    assert found is not None
    assert found.prediction is not None
    assert told(checks[0])[0] == "ok"
    assert told(checks[0])[1].startswith("1 of 100 images failed (1 quarantined), such as /photos/a.jpg: ")
    assert doing[2] == "a process was ended; reading each image in one of its own"


def test_images_that_are_read_alone_and_end_their_process_are_rows_as_index_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program = """
import os, signal, sys
from workers.images import isolated
def read(location, *limits):
    if "bad" in location.path: os.kill(os.getpid(), signal.SIGSEGV)
    return real(location, *limits)
real, isolated.read_image = isolated.read_image, read
isolated.main(sys.argv[1:])
"""

    class Ending(IsolatedReaders):
        def __init__(self, *limits: Any) -> None:
            super().__init__(*limits)
            self.command = [sys.executable, "-P", "-c", program, *self.command[4:]]

    monkeypatch.setattr("workers.evaluate.doctor.sample.IsolatedReaders", Ending)
    monkeypatch.setattr("workers.evaluate.doctor.sample.loaded_embedder", lambda spec, model_dir, settings: Embedder())
    good = photos(tmp_path, 9)
    (tmp_path / "bad.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    locations = [*good[:4], Location(str(tmp_path / "bad.jpg")), *good[4:]]
    request = {
        "images": [asdict(location) for location in locations], "listed": 10, "spec": SPEC.to_json(), "model_dir": "/",
        "threads": 2, "seconds": 600, "limits": list(LIMITS), "alone": True, "features": False,
    }  # fmt: skip
    measured = run_sample(json.loads(json.dumps(request)), Settings())
    assert (measured["read"], measured["embedded"], measured["failed"]) == (10, 9, {"quarantined": 1})
    (example,) = measured["examples"]
    assert example["path"].endswith("bad.jpg")
    assert "(signal SIGSEGV, signal SIGSEGV)" in example["error"]


@pytest.mark.parametrize("given", [None, 3])
def test_it_decodes_in_as_many_threads_as_an_embed_worker(given: int | None) -> None:
    settings = Settings(decode_threads=given)
    assert timing.threads_of(settings) == Runtime(settings).decode_threads


def test_what_is_read_ahead_is_what_an_embed_worker_reads_ahead() -> None:
    assert BATCHES_AHEAD == partition.BATCHES_AHEAD
