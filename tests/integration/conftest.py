"""Fixtures of the integration tests: photographs, brokers, processes that end with the test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from coordinator.jobs.create import make_or_open
from shared.job.directory import JobDir
from shared.settings import Settings
from tests.integration.faults.bench import CHUNK_SIZE, IMAGES, Bench
from tests.integration.faults.faults import Faults
from tests.support.images.photographs import make_photos
from tests.support.once import made_once
from tests.support.processes import LOOKALIKE, Process, environment, free_port, redis_server, valkey_binary


@pytest.fixture(scope="session")
def photos() -> Path:
    """A folder of 240 photographs; leave it as it is."""
    return made_once("photos", lambda folder: make_photos(folder, IMAGES))


@pytest.fixture(scope="session")
def few_photos() -> Path:
    """A folder of 60 photographs and five files that are none, for tests that are not about time; leave it so."""

    def make(folder: Path) -> None:
        make_photos(folder, 60)
        (folder / "empty.jpg").write_bytes(b"")
        (folder / "text.jpg").write_text("this is no image\n")
        whole = (folder / "photo_00000.jpg").read_bytes()
        (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
        (folder / "vanished.jpg").symlink_to(folder / "never-there.jpg")
        (folder / "notes.txt").write_text("not listed\n")

    return made_once("few photos", make)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start `lookalike ARGUMENTS` in the background; whatever still runs at the test's end is stopped."""
    started: list[Process] = []
    with ExitStack() as stopped:

        def begin(
            *arguments: str | Path, env: dict[str, str] | None = None, command: list[str] | None = None
        ) -> Process:
            log = tmp_path / f"process{len(started)}.log"
            process = Process(command or [LOOKALIKE, *map(str, arguments)], log, env or environment())
            started.append(process)
            stopped.callback(process.stop)  # Each, also when another one did not end.
            return process

        yield begin
        for process in started:
            if process.popen.poll() is None:
                process.popen.terminate()  # All at once, as each takes its second.


@pytest.fixture
def broker_url(tmp_path: Path) -> Iterator[str]:
    """A Valkey server of its own for one test, over TCP as a real one is."""
    port = free_port()
    with redis_server(valkey_binary(), tmp_path / "valkey", port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def bench(photos: Path, broker_url: str, tmp_path: Path, start: Callable[..., Process]) -> Bench:
    job = JobDir.at(tmp_path / "jobs" / "job")
    job = make_or_open(str(photos), job, Settings(chunk_size=CHUNK_SIZE), lambda count: None)
    return Bench(broker_url, photos, job, start, Faults(tmp_path / "faults"))
