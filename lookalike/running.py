"""What an open job keeps for its searches: where its images are, and the broker and worker that it started."""

import os
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lookalike.client import Client
from shared.images.location import read_bytes
from shared.job.opened import OpenJob

if TYPE_CHECKING:
    from lookalike.job import Job
    from shared.images.location import Location


class Images:
    """The images of a job, as its hits read them: apart from the job, so that hits keep no worker running."""

    def __init__(self, job: OpenJob) -> None:
        self._job = job
        self._lock = threading.Lock()
        self._located: tuple[int, list[Location]] = (-1, [])

    def read(self, image_id: int, path: str) -> bytes:
        """The bytes of an image; one in an archive is read where the job knows that it is."""
        from shared.job import path_list
        from shared.job.bundle import stored_image

        if image_id >= self._job.listed:  # It came since the job was opened.
            self._job = self._job.renewed()
        partition = self._job.partition_of(image_id)
        with self._lock:
            if self._located[0] != partition.number:
                self._located = (partition.number, path_list.read_locations(self._job, partition))
            location = self._located[1][image_id - partition.start]
        if self._job.manifest.bundle is not None:
            return stored_image.read_image(self._job, image_id, location)[0]
        return read_bytes(location.place, self._job.manifest.max_image_bytes, location.member)


class Running:
    """What searches have started; ends with its job, or with the program."""

    def __init__(self, job: "Job", client: Client, revive: Callable[[], None], stack: ExitStack) -> None:
        self.client = client
        self.revive = revive
        self.pid = os.getpid()
        # At the end of the program too. Where that is killed, worker and broker notice by themselves.
        self.end = weakref.finalize(job, _end, stack, self.pid)


def _end(stack: ExitStack, pid: int) -> None:
    if os.getpid() == pid:  # A forked process that ends must not end what its parent uses.
        stack.close()
