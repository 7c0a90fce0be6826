"""Search a finished, undisturbed job all the time, for images whose answer is known."""

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np

from coordinator.client.client import Client
from shared.errors import LookalikeError
from shared.images.paths import to_os_path
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.job.partition import ledger
from shared.job.partition.sealing import open_embeddings

_EVERY_SECONDS = 0.5
# Short, as a search whose worker was killed is lost, and until it is given up nothing can be seen.
_TIMEOUT_SECONDS = 3.0
_END_SECONDS = 20.0
_ALIKE = 0.99


@dataclass(slots=True)
class Asker:
    """Asks for a stored vector twice a second, from a thread of its own, while the block runs.

    `answers` are the moments at which right answers were asked for and came, in seconds since the epoch. `wrong` are
    sentences about wrong ones, and about failures that no client should show. An error of lookalike is not wrong: it is
    the answer during an outage, and is only counted, in `refused`.
    """

    job: JobDir
    broker_url: str
    answers: list[tuple[float, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="asker", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def answered_after(self, moment: float) -> float | None:
        """When the first search that was sent after a moment was answered: an earlier one says nothing about it."""
        return next((came for sent, came in list(self.answers) if sent > moment), None)

    def _run(self) -> None:
        ids, vectors = _first_partition(self.job)
        number = 0
        client: Client | None = None
        while not self._stop.wait(_EVERY_SECONDS):
            number = (number + 1) % len(ids)
            begun = time.time()
            try:
                client = client or Client(self.job.path, self.broker_url)
                hits = client.search(vectors[number].astype(np.float32), k=1, timeout=_TIMEOUT_SECONDS)
            except LookalikeError:
                self.refused += 1
                continue
            except Exception as error:
                self.wrong.append(f"A search raised {error!r} instead of an error of lookalike's own.")
                continue
            if [hit.id for hit in hits] == [ids[number]] and hits[0].similarity > _ALIKE:
                self.answers.append((begun, time.time()))
            else:
                self.wrong.append(f"The stored vector of image {ids[number]} was answered with {hits}.")
        if client is not None:
            client.close()


def _first_partition(job: JobDir) -> tuple[list[int], "np.ndarray[Any, Any]"]:
    seal = next(ledger.sealed(open_job(job)))
    return ledger.check_ids(job, seal).tolist(), open_embeddings(job.img_emb(seal.partition), seal.embedded, seal.dim)


def find_itself(job: JobDir, broker_url: str, image_id: int, path: str, seconds: float) -> list[str]:
    """Search a job for one of its own images; returns what was wrong with the answer, nothing when it found itself."""
    deadline = time.monotonic() + seconds
    said = "no time was given"
    while time.monotonic() < deadline:
        try:
            with Client(job.path, broker_url) as client:
                hits = client.search(to_os_path(path), k=1, timeout=max(1.0, deadline - time.monotonic()))
        except LookalikeError as error:  # Its worker may be starting again.
            said = str(error)
            time.sleep(_EVERY_SECONDS)
            continue
        if [hit.id for hit in hits] == [image_id] and hits[0].similarity > _ALIKE:
            return []
        return [f"The image {image_id} of {job.job_id} was searched for, and {hits} came back."]
    return [f"The image {image_id} of {job.job_id} could not be searched for within {seconds:g} s: {said}"]
