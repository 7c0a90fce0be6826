"""Reading images in processes of their own: what would end a worker ends one of those instead."""

import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, Self

import numpy as np

from shared.endings import ending
from shared.errors import SourceError
from shared.locations import Location
from shared.members import Member
from shared.models import REDUCED
from workers.decode import ReadImage, read_image

# A process may also be ended by chance, or for want of memory at a bad moment. An image is given up at the second time.
_TRIES = 2
_SECONDS = 120.0
_LENGTH_BYTES = 8
# An interpreter takes a moment to end, on a busy machine a second.
_END_SECONDS = 5.0


class IsolatedReaders:
    """A reading process for each thread that asks: started at first use, and anew when an image has ended it.

    Use as a context manager: leaving it ends the processes. They end by themselves when their worker does.
    """

    def __init__(self, image_size: int, max_pixels: int, max_bytes: int, how: str = REDUCED) -> None:
        limits = map(str, (image_size, max_pixels, max_bytes))
        self._command = [sys.executable, "-P", "-m", "workers.isolated", *limits, how]
        self._image_size = image_size
        self._own = threading.local()
        self._all: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self._all:
            _end(process)

    def read(self, location: Location) -> ReadImage:
        """What `read_image` gives for `location`.

        An image that ends its process twice gets the status "quarantined". Raises SourceError when the reading does
        not end within two minutes, which says more of a disk than of an image.
        """
        ends: list[str] = []
        while len(ends) < _TRIES:
            process = self._process()
            try:
                return _unpacked(_ask(process, location), self._image_size)
            except (EOFError, BrokenPipeError):
                ends.append(_end(process))
            except TimeoutError:
                _end(process)
                raise SourceError(
                    f"A process of its own did not read {location.path} within {_SECONDS:.0f} s: see whether its disk "
                    "answers."
                ) from None
        reason = f"Each process that read this image alone came to its end by it ({', '.join(ends)}), as a worker had."
        return ReadImage(location.path, None, None, None, None, None, "quarantined", reason)

    def _process(self) -> "subprocess.Popen[bytes]":
        process: subprocess.Popen[bytes] | None = getattr(self._own, "process", None)
        if process is None or process.poll() is not None:
            # In a session of its own: Ctrl-C is for the worker, and must not count against an image.
            process = subprocess.Popen(
                self._command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
            self._own.process = process
            self._all.append(process)
        return process


def _end(process: "subprocess.Popen[bytes]") -> str:
    """End a reading process, if it has not ended by itself, and say how it did."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()  # It ends by itself when it has nothing more to read.
    process.stdout.close()
    try:
        code = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return ending(code)


def _ask(process: "subprocess.Popen[bytes]", location: Location) -> bytes:
    """Have an image read; EOFError or BrokenPipeError when the process ends over it, TimeoutError when that is long."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(asdict(location)).encode() + b"\n")
    deadline = time.monotonic() + _SECONDS
    length = int.from_bytes(_exactly(process.stdout.fileno(), _LENGTH_BYTES, deadline), "big")
    return _exactly(process.stdout.fileno(), length, deadline)


def _exactly(file: int, length: int, deadline: float) -> bytes:
    data = b""
    while len(data) < length:
        if not select.select([file], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        piece = os.read(file, length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def _packed(image: ReadImage) -> bytes:
    """An image as a line of JSON, and its pixels behind it."""
    head = json.dumps(asdict(replace(image, pixels=None))).encode()
    return head + b"\n" + (b"" if image.pixels is None else image.pixels.tobytes())


def _unpacked(data: bytes, image_size: int) -> ReadImage:
    """The inverse of `_packed`."""
    head, _, pixels = data.partition(b"\n")
    image = ReadImage(**json.loads(head))
    if not pixels:
        return image
    return replace(image, pixels=np.frombuffer(pixels, np.uint8).reshape(image_size, image_size, 3))


def _location(table: dict[str, Any]) -> Location:
    return Location(table["path"], None if table["member"] is None else Member(**table["member"]))


def main(arguments: list[str]) -> None:
    """Read the images whose locations come on standard input, a line of JSON each, and answer on standard output."""
    image_size, max_pixels, max_bytes = map(int, arguments[:-1])
    # Nothing else in this process, and no library, may write between the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    with suppress(BrokenPipeError):  # Whoever asked is gone.
        for line in sys.stdin:
            location = _location(json.loads(line))
            packed = _packed(read_image(location, image_size, max_pixels, max_bytes, arguments[-1]))
            answers.write(len(packed).to_bytes(_LENGTH_BYTES, "big") + packed)


if __name__ == "__main__":
    main(sys.argv[1:])
