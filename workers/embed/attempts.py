"""Record on disk which images a worker is reading, so that an image that ends the worker's process is found."""

import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from shared.job.directory import JobDir

# From this many ended attempts at a partition on, each of its images is read in a process of its own: many of them may
# end a worker, and that must not cost a worker each.
_WARY_ATTEMPTS = 3
# A line is written in place: an image id, or nothing, and never part of one.
_LINE_BYTES = 20


class Attempt:
    """One worker's attempt at a partition: a file with a line for each reading thread, which names the image being
    read.

    Use as a context manager around the work. An orderly end removes the file, so a file that is still there is a sign
    of a process that was ended, and names the images that it was reading just then. It is not synced: a process that
    ends leaves what it wrote to the system, and a machine that ends was not ended by an image. Raises OSError when the
    job's disk takes no file.
    """

    def __init__(self, job: JobDir, partition: int) -> None:
        self._path = job.attempt(partition, uuid.uuid4().hex)
        earlier = [_ids_in(path) for path in job.attempts(partition)]
        self._wary = len(earlier) >= _WARY_ATTEMPTS
        self._suspects = frozenset(image_id for ids in earlier for image_id in ids)
        self._slots: dict[int, int] = {}
        self._lock = threading.Lock()
        self._file = -1

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        return self

    def __exit__(self, *raised: object) -> None:
        with suppress(OSError):
            os.close(self._file)
        # The worker that sealed the partition meanwhile has removed it.
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def suspects(self, image_id: int) -> bool:
        """Whether reading `image_id` may end this process: it was being read when one ended, or too many have ended.

        A frozen worker counts as ended: suspicion only means that the image is read in a process of its own.
        """
        return self._wary or image_id in self._suspects

    @contextmanager
    def in_hand(self, image_id: int) -> Iterator[None]:
        """Note that this thread reads `image_id` while the block runs; a disk that takes no note takes no commit."""
        place = self._place()
        os.pwrite(self._file, _line(str(image_id)), place)
        try:
            yield
        finally:
            os.pwrite(self._file, _line(""), place)

    def _place(self) -> int:
        with self._lock:
            return self._slots.setdefault(threading.get_ident(), len(self._slots)) * _LINE_BYTES


def _line(text: str) -> bytes:
    return f"{text:<{_LINE_BYTES - 1}}\n".encode()


def _ids_in(path: Path) -> list[int]:
    try:
        text = path.read_text("ascii", errors="replace")
    except OSError:  # It was removed just now, because its worker ended in order.
        return []
    return [int(line) for line in text.split() if line.isdecimal()]
