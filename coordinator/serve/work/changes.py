"""Add images to a job, and remove some: here where the server has its own broker, otherwise through embed workers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import anyio
import numpy as np

from coordinator.client.change_messages import adding
from coordinator.client.client import Client
from coordinator.jobs.changes import removal
from coordinator.jobs.changes.addition import made_apart
from coordinator.serve.work.writing import writing
from shared.job.opened import OpenJob

_SECONDS: Final = 120.0
_MOST: Final = 4

Images = Sequence[tuple[str, bytes]]


class Changes:
    """Changes jobs; several threads may ask at once, and one job is changed by one at a time."""

    def __init__(self, client_of: Callable[[OpenJob], Client], *, here: bool) -> None:
        """`here` is whether this machine makes the changes, in processes that load the model each time."""
        self._client_of, self._here = client_of, here
        self.limiter = anyio.CapacityLimiter(_MOST)
        """For `add`, which may wait for minutes: it must not take the threads that all else needs."""

    def add(self, job: OpenJob, images: Images, metadata: Mapping[str, Any] | None, request: str | None) -> list[int]:
        """Add images, each a name and its bytes, all or none, and return their ids; `request` names what is done once.

        Raises as `Client.add`, `made_apart` and `writing` do.
        """
        values = None if metadata is None else [metadata] * len(images)
        if self._here:
            with writing(job):
                return list(made_apart(job, adding(job.job_id, images, values, None, request)).ids)
        with self._client_of(job) as client:
            return client.add(images, values, request=request, timeout=_SECONDS)

    def delete(self, job: OpenJob, image_id: int) -> None:
        """Remove an image from all answers. Raises as `Client.delete`, `removal.remove` and `writing` do."""
        if self._here:
            with writing(job):
                removal.remove(job, removal.Asked(ids=np.array([image_id], np.int64)), lambda event: None)
            return
        with self._client_of(job) as client:
            client.delete([image_id], timeout=_SECONDS)
