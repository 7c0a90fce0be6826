"""What is sent to a child process arrives as it was, whatever its length and the way it takes."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator

import pytest

from shared.processes.child import ChildProcess

# Answers with the length and a digest of each piece.
PROGRAM = """
import hashlib, json, os
from shared.processes.child import serve
def answer(pieces):
    return [json.dumps([[len(piece), hashlib.sha256(piece).hexdigest()] for piece in pieces]).encode()]
serve(answer, 60.0)
"""
COMMAND = [sys.executable, "-P", "-c", PROGRAM]
MOST = 1 << 16


def digests(*pieces: bytes) -> bytes:
    return json.dumps([[len(piece), hashlib.sha256(piece).hexdigest()] for piece in pieces]).encode()


@pytest.fixture
def started() -> Iterator[Callable[[], ChildProcess]]:
    children: list[ChildProcess] = []

    def start() -> ChildProcess:
        children.append(ChildProcess(COMMAND))
        return children[-1]

    yield start
    for child in children:
        child.end()


SHORT, LONG, LARGE = b"short", os.urandom(70_000), os.urandom(9 << 20)
REQUESTS = [
    (b"",),
    (SHORT, LONG, b"", SHORT),
    (LONG, LONG[::-1], SHORT, LARGE),
    (LARGE,),
    (LONG[:65_536], LONG[:65_537]),
    (SHORT, LONG[1:]),
]


def test_pieces_of_all_lengths_arrive_as_they_were_one_request_after_the_other(
    started: Callable[[], ChildProcess],
) -> None:
    child = started()
    for request in (*REQUESTS, *REQUESTS[::-1]):
        assert child.ask(request, 60.0, MOST) == digests(*request)


@pytest.mark.parametrize("broken", ["none", "full"])
def test_pieces_arrive_without_files_in_memory(
    broken: str, started: Callable[[], ChildProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    if broken == "none":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:

        def full(file: int, offset: int, size: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
    child = started()
    for request in REQUESTS:
        assert child.ask(request, 60.0, MOST) == digests(*request)


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux has files in memory, and says what is open.")
def test_a_large_request_leaves_no_memory_behind_and_a_process_no_open_file(
    started: Callable[[], ChildProcess],
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    child = started()
    child.ask((LONG,), 60.0, MOST)
    (file,) = child._memory.files
    assert os.fstat(file).st_size == len(LONG)
    child.ask((LARGE,), 60.0, MOST)
    assert os.fstat(file).st_size == 0
    child.end()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError):
        ChildProcess(["/no/such/program"])
    assert len(os.listdir("/proc/self/fd")) == before
