"""Decode images for queries in processes of their own, so that a crash, a hang or lack of memory costs only one
image.
"""

import json
import math
import queue
import tempfile
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.errors import ImageError, WorkerFailed
from shared.messages.thumbnail import MOST_BYTES
from shared.processes.child import ChildProcess
from shared.processes.own import module_command
from workers.images.decode import DecodedImage
from workers.search.decoding.pictures import FEATURES, PDQS, SQUARE, VIEWS, unpacked
from workers.search.decoding.small import THUMBNAIL
from workers.verify.features import LocalFeatures
from workers.verify.pdq import BYTES

Made = TypeVar("Made")

# A process may also be ended by chance. An image is given up after the second time.
_TRIES: Final = 2
# A process ends itself when its time is up. Only one that does not run at all is ended from here, this much later.
GRACE_SECONDS: Final = 5.0
_HEAD_BYTES: Final = 1 << 16
_FEATURES_BYTES: Final = 1 << 20
_TIME_IS_UP: Final = "signal SIGALRM"


class DecodingProcesses:
    """`count` processes that decode images, kept for the next ones. Several threads may ask at once.

    One that ends is started again. They end with this object, and by themselves when this process does.
    """

    def __init__(self, count: int, seconds: float, memory_bytes: int) -> None:
        """`seconds` and `memory_bytes` are the most that one image may take; the bytes are a bound only on Linux."""
        self._seconds, self._memory_bytes = seconds, memory_bytes
        self.command = module_command("workers.search.decoding.process", seconds, memory_bytes)
        # The file that they lock while they decode a large image, so that only one is in memory at a time.
        self._large = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object.
        self._all: set[ChildProcess] = set()
        # None stands for one that is to be started. The last used is used next: its memory is warm.
        self._idle: queue.LifoQueue[ChildProcess | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._count = count
        self._close = weakref.finalize(self, _end_all, self._all, self._large)

    def close(self) -> None:
        """End them all; an image that is being decoded then is an error of its thread."""
        self._close()

    @property
    def pids(self) -> set[int]:
        """The process ids of those that run."""
        return {process.pid for process in set(self._all) if not process.has_ended}

    def start(self, most: int | None = None) -> None:
        """Start those that do not run, or `most` of them, without waiting: their imports take some tenths of a second.

        The others start when they are needed.
        """
        taken: list[ChildProcess | None] = []
        with suppress(queue.Empty):
            while len(taken) < min(self._count, most or self._count):
                taken.append(self._idle.get_nowait())
        for process in taken:
            self._idle.put(self._restarted(process))

    def decode(self, data: bytes, image_size: int, max_pixels: int, how: str) -> DecodedImage:
        """The result of `workers.images.decode.decode` for these arguments.

        Raises ImageError as that does; with the status "quarantined" for an image that ends two processes or takes
        more than the seconds it has, "oversized" for one that takes more than the bytes. Raises WorkerFailed when no
        process can be started.
        """
        request = {"want": SQUARE, "image_size": image_size, "max_pixels": max_pixels, "how": how}

        def made(head: Mapping[str, Any], data: bytearray, start: int) -> DecodedImage:
            pixels = np.frombuffer(data, np.uint8, offset=start).reshape(image_size, image_size, 3)
            return DecodedImage(pixels, head["width"], head["height"])

        return self._made(request, data, image_size * image_size * 3, made)

    def thumbnail(self, data: bytes, side: int, max_pixels: int, how: str) -> bytes:
        """The image as a JPEG, its longer side at most `side` pixels; raises as `decode`."""
        request = {"want": THUMBNAIL, "side": side, "max_pixels": max_pixels, "how": how}
        return self._made(request, data, MOST_BYTES, lambda head, data, start: bytes(data[start:]))

    def views(self, data: bytes, count: int, image_size: int, max_pixels: int, how: str) -> NDArray[np.uint8]:
        """At most `count` views of an image, each as a square: uint8 [n, image_size, image_size, 3], the whole first;
        raises as `decode`."""
        square = image_size, image_size, 3
        request = {"want": VIEWS, "count": count, "image_size": image_size, "max_pixels": max_pixels, "how": how}

        def made(head: Mapping[str, Any], data: bytearray, start: int) -> NDArray[np.uint8]:
            return np.frombuffer(data, np.uint8, offset=start).reshape(head["views"], *square)

        return self._made(request, data, count * math.prod(square), made)

    def features(self, data: bytes, keypoints: int, max_pixels: int, how: str) -> LocalFeatures:
        """The local features of an image, at most `keypoints` of them; raises as `decode`."""
        request = {"want": FEATURES, "keypoints": keypoints, "max_pixels": max_pixels, "how": how}
        return self._made(request, data, _FEATURES_BYTES, unpacked)

    def pdqs(self, data: bytes, max_pixels: int, how: str) -> tuple[NDArray[np.uint8], int]:
        """The PDQs of an image in its eight turns and flips, uint8 [8, 32], and their quality; raises as `decode`."""
        request = {"want": PDQS, "max_pixels": max_pixels, "how": how}

        def made(head: Mapping[str, Any], data: bytearray, start: int) -> tuple[NDArray[np.uint8], int]:
            return np.frombuffer(data, np.uint8, offset=start).reshape(8, BYTES), int(head["quality"])

        return self._made(request, data, 8 * BYTES, made)

    def _made(
        self,
        request: Mapping[str, Any],
        data: bytes,
        most: int,
        made: Callable[[Mapping[str, Any], bytearray, int], Made],
    ) -> Made:
        """What a process makes of an image; its answer is a line of JSON, and from a place of the bytes on the rest."""
        head = json.dumps(request).encode()
        process = self._idle.get()
        ends: list[str] = []
        try:
            while len(ends) < _TRIES and _TIME_IS_UP not in ends:
                process = self._running(process)
                try:
                    # A process that waits for another to finish a large image has the time of both.
                    seconds = self._count * self._seconds + GRACE_SECONDS
                    return _unpacked(process.ask([head, data], seconds, _HEAD_BYTES + most), made)
                except EOFError:
                    ends.append(process.end())
                except TimeoutError:
                    ends.append(_TIME_IS_UP)
                except ValueError as error:
                    ends.append(f"an answer that is none, {error}")
                self._forget(process)
                process = self._another()
            raise self._given_up(ends)
        except ImageError:
            raise
        except BaseException:
            # Part of an answer may be under way, which must not become that of the next image.
            self._forget(process)
            process = None
            raise
        finally:
            # It starts at once, so that the next image does not wait for that.
            self._idle.put(self._restarted(process))

    def _another(self) -> ChildProcess | None:
        """A waiting process for the second try: the imports of a new one take some tenths of a second."""
        try:
            other = self._idle.get_nowait()
        except queue.Empty:
            return None
        self._idle.put(self._restarted(None))
        return other

    def _given_up(self, ends: list[str]) -> ImageError:
        if _TIME_IS_UP in ends:
            sentence = (
                f"The image was not decoded within {self._seconds:g} s (the setting decode_seconds), and its process "
                "was ended: it is damaged, or made to take long. Save it anew in another program."
            )
        else:
            sentence = (
                f"Each process that decoded this image came to its end by it ({', '.join(ends)}): it is damaged, or "
                "made to do that. Save it anew in another program."
            )
        return ImageError(sentence, "quarantined")

    def _running(self, process: ChildProcess | None) -> ChildProcess:
        if process is not None and not process.has_ended:
            return process
        self._forget(process)
        try:
            started = ChildProcess([*self.command, str(self._large.fileno())], keep=(self._large.fileno(),))
        except OSError as error:
            raise WorkerFailed(
                f"The worker can't start a process that decodes query images ({error}): see that its machine has "
                "memory and processes left."
            ) from None
        self._all.add(started)
        return started

    def _restarted(self, process: ChildProcess | None) -> ChildProcess | None:
        # The next decoding tries again, and reports what is wrong.
        with suppress(WorkerFailed, ValueError):
            return self._running(process)
        return None

    def _forget(self, process: ChildProcess | None) -> None:
        if process is not None:
            process.kill()
            self._all.discard(process)


def _end_all(processes: set[ChildProcess], large: IO[bytes]) -> None:
    for process in list(processes):
        process.kill()
    processes.clear()
    large.close()


def _unpacked(answer: bytearray, made: Callable[[Mapping[str, Any], bytearray, int], Made]) -> Made:
    """What a decoding process answered; raises the ImageError that it holds, or ValueError for an invalid answer."""
    end = answer.index(b"\n")
    try:
        head = json.loads(answer[:end])
        if "status" in head:
            raise ImageError(head["message"], head["status"])
        return made(head, answer, end + 1)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{error!r}") from None
