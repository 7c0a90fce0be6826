"""Read images in processes of their own, so that what would end a worker ends only one of them."""

import json
import sys
import threading
from dataclasses import asdict, replace
from typing import Any, Self

import numpy as np

from shared.errors import SourceError
from shared.images.location import Location
from shared.images.members import Member
from shared.models.preprocessing import REDUCED
from shared.processes.child import ChildProcess, Piece, serve
from shared.processes.own import module_command
from workers.images.read import ReadImage, read_image

# A process may also be ended by chance, or for want of memory at a bad moment. An image is given up after the second
# time.
_TRIES = 2
READ_SECONDS = 120.0
_FEATURES = "features"
_HEAD_BYTES = 1 << 20  # More bytes than the path, the sentence and the features of an image ever take.


class IsolatedReaders:
    """A reading process for each thread that asks, started at first use, and again when an image has ended it.

    Use as a context manager: leaving it ends the processes. They end by themselves when their worker does.
    """

    def __init__(
        self, image_size: int, max_pixels: int, max_bytes: int, how: str = REDUCED, features: bool = False
    ) -> None:
        """What is wanted of each image, as `read_image` takes it."""
        wanted = (image_size, max_pixels, max_bytes, how, *([_FEATURES] if features else []))
        self.command = module_command("workers.images.isolated", *wanted)
        """What each process is started by."""
        self._image_size = image_size
        self._own = threading.local()
        self._all: list[ChildProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self._all:
            process.end()

    def read(self, location: Location) -> ReadImage:
        """The result of `read_image` for `location`.

        An image that ends its process twice gets the status "quarantined". Raises SourceError when the reading does not
        end within two minutes, which says more about a disk than about an image.
        """
        ends: list[str] = []
        while len(ends) < _TRIES:
            process = self._process()
            try:
                return _unpacked(self._asked(process, location), self._image_size)
            except EOFError:
                ends.append(process.end())
            except TimeoutError:
                process.end()
                raise SourceError(
                    f"A process of its own did not read {location.place} within {READ_SECONDS:.0f} s: see whether its "
                    "disk answers."
                ) from None
        reason = f"Each process that read this image alone came to its end by it ({', '.join(ends)}), as a worker had."
        return ReadImage(location.path, None, None, None, None, None, "quarantined", reason)

    def _asked(self, process: ChildProcess, location: Location) -> bytes:
        most = _HEAD_BYTES + self._image_size * self._image_size * 3
        return bytes(process.ask([json.dumps(asdict(location)).encode()], READ_SECONDS, most))

    def _process(self) -> ChildProcess:
        process: ChildProcess | None = getattr(self._own, "process", None)
        if process is None or process.has_ended:
            process = ChildProcess(self.command)
            self._own.process = process
            self._all.append(process)
        return process


def _packed(image: ReadImage) -> bytes:
    """An image as a line of JSON, and its pixels and its features behind it."""
    head = json.dumps(asdict(replace(image, pixels=None, features=None))).encode()
    return b"".join([head, b"\n", b"" if image.pixels is None else image.pixels.tobytes(), image.features or b""])


def _unpacked(data: bytes, image_size: int) -> ReadImage:
    """The inverse of `_packed`."""
    head, _, behind = data.partition(b"\n")
    image = ReadImage(**json.loads(head))
    if not behind:
        return image
    size = image_size * image_size * 3
    pixels = np.frombuffer(behind[:size], np.uint8).reshape(image_size, image_size, 3)
    return replace(image, pixels=pixels, features=behind[size:] or None)


def _location(table: dict[str, Any]) -> Location:
    member = None if table["member"] is None else Member(**table["member"])
    return Location(table["path"], member, table["moved"])


def main(arguments: list[str]) -> None:
    """Read the images whose locations come on standard input, in JSON, and answer on standard output."""
    image_size, max_pixels, max_bytes = map(int, arguments[:3])
    how, features = arguments[3], _FEATURES in arguments[4:]

    def answer(request: list[bytes]) -> list[Piece]:
        location = _location(json.loads(request[0]))
        return [_packed(read_image(location, image_size, max_pixels, max_bytes, how, features))]

    serve(answer, 2 * READ_SECONDS)  # The worker gives it up before that, if it still runs.


if __name__ == "__main__":
    main(sys.argv[1:])
