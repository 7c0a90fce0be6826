"""Open a job, a directory of embeddings and an index, and search it without a broker of the user's."""

import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

from lookalike import extras
from lookalike.client import Client
from lookalike.hits import Hit, Hits
from lookalike.running import Images, Running
from shared.errors import BrokerUnreachable, NoWorker, UsageError
from shared.job.directory import JobDir
from shared.job.opened import open_job
from shared.settings import load_settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from coordinator.client.change_messages import Addable
    from coordinator.client.queries import Queryable
    from lookalike.status import Status
    from shared.messages.changes import ChangeJob


class Job:
    """A job on this machine, on a mount or in a bucket; `lookalike.open` returns it.

    The first search starts a broker on a private socket and a query worker, as `lookalike search` does, and keeps both
    for the next ones. They end with `close`, with the `with` block, or with the program, however that ends.
    """

    def __init__(self, path: str | os.PathLike[str], broker: str | None = None) -> None:
        directory = JobDir.at(os.fspath(path))
        self._settings = load_settings().changed(broker_url=broker)
        with extras.needed("To open a job"):
            self._job = open_job(directory)
        self._lock = threading.RLock()
        self._running: Running | None = None
        self._images = Images(self._job)

    @property
    def path(self) -> str:
        """The directory or URL of the job."""
        return str(self._job.path)

    @property
    def is_bundle(self) -> bool:
        """Whether this is a bundle, which `lookalike export` made of a job: its similarities are approximate, as
        `status().bundle` says, and it can't be changed."""
        return self._job.manifest.bundle is not None

    def __repr__(self) -> str:
        return f"<lookalike.Job {self.path}: {self._job.listed:,} images, {self._job.manifest.model.fingerprint}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End what the searches started. A search after that starts it again."""
        with self._lock:
            if self._running is not None:
                running, self._running = self._running, None
                running.end()

    def search(
        self,
        query: "Queryable",
        k: int = 10,
        *,
        exact: bool = False,
        ids: "npt.ArrayLike | None" = None,
        where: str | None = None,
        verify: str = "never",
        views: int = 1,
        finer: str | os.PathLike[str] | None = None,
        timeout: float = 120.0,
    ) -> Hits:
        """The images of the job most like a query; the first search takes seconds, as it loads the model.

        A job that is still being embedded is searched as far as it is; `searched` of the hits says how far. Threads
        that search the same job wait for each other.

        Parameters
        ----------
        query
            The path or URL of an image, `ARCHIVE::NAME` for one in an archive, its encoded bytes, an RGB array uint8
            [h, w, 3], or a vector float [d] of the job's model.
        k
            How many hits, 1 to 1,000; a job with fewer embedded images gives as many as it has.
        exact
            Whether to compare with every embedding, without the index.
        ids
            Find only these image ids, up to 1,000,000.
        where
            Find only images for whose metadata this SQL expression is true, such as "width >= 1000"; not with `ids`.
        verify, views, finer
            As for `Client.search`: whether pictures are compared, so that hits have verdicts, by how many views, and
            which second model orders the nearest images too.
        timeout
            Seconds to wait.

        Raises
        ------
        LookalikeError
            NoIndexYet before anything of the job is embedded, and what `Client.search` raises.
        """
        how: dict[str, Any] = {"exact": exact, "ids": ids, "where": where, "verify": verify, "views": views}
        how["finer"] = finer
        with self._lock:
            try:
                found = self._client().search(query, k, **how, timeout=timeout)
            except (NoWorker, BrokerUnreachable):
                if self._settings.broker_url:
                    raise
                self.close()  # What served us was another program's, and ended with it.
                found = self._client().search(query, k, **how, timeout=timeout)
        hits = (Hit.of(hit, self._images.read) for hit in found)
        return Hits(hits, found.searched, found.verified, found.refined)

    def add(
        self, images: "Iterable[Addable] | np.ndarray", metadata: Iterable[Mapping[str, Any]] | None = None
    ) -> list[int]:
        """Add images to the job, all or none, and return their ids; searches find them from now on.

        They are embedded in a process of its own, which loads the model each time: for many, one call is best. A
        refresh of the job from its source leaves them alone, unless they are in it.

        Parameters
        ----------
        images
            Paths or URLs, `ARCHIVE::NAME` for an image in an archive, or (name, bytes) for one that the job is to hold
            itself; up to 10,000. For a job of imported vectors the vectors, float [n, d].
        metadata
            For each image its values by the columns of the job's metadata, such as {"year": 1999}.

        Raises
        ------
        LookalikeError
            ImageError for an image that can't be embedded, JobError for a path that the job has already, UsageError for
            a column that it does not have, JobBusy while another process changes it for long. Nothing is added then.
        """
        from coordinator.client.change_messages import adding

        return self._change(adding(self._job.job_id, images, metadata, None, None))

    def update(
        self,
        image_id: SupportsIndex,
        image: "Addable | np.ndarray | None" = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Put another image in the place of one, or give it other metadata; return the id that it has now.

        An id always means the same image with the same metadata, so what is new has a new id, and the old one is
        removed in the same change. Metadata that is not given stays as it was. Raises as `add` does, and JobError for
        an id that was never given or was removed.
        """
        from coordinator.client.change_messages import updating

        return self._change(updating(self._job.job_id, image_id, image, metadata, None))[0]

    def _change(self, message: "ChangeJob") -> list[int]:
        with extras.needed("To change a job"):
            from coordinator.jobs.changes.addition import made_apart
        changed = made_apart(self._job, message)
        self._job = self._job.renewed()
        return list(changed.ids)

    def delete(self, images: "Iterable[SupportsIndex | str | os.PathLike[str]]") -> int:
        """Remove images from all answers, at once and for good, and return how many; none of their files is touched.

        Either all of `images` are removed or, where it raises, none. Ids stay as they are and are never reused. Query
        workers that run leave the images out from their next query on; of a job in a bucket within two seconds.

        Parameters
        ----------
        images
            Image ids, or paths as hits give them, also of images that failed or are not embedded yet. A text of digits
            is an id.

        Raises
        ------
        LookalikeError
            JobError for an id that was never given and an image that was removed before, QueryError for a path that the
            job does not list, JobBusy while another process changes the job.
        """
        with extras.needed("To remove images"):
            from coordinator.jobs.changes import removal
        if isinstance(images, str | bytes | os.PathLike) or not isinstance(images, Iterable):
            raise UsageError(f"delete takes a list of images, as in delete([{images!r:.80}]), and not one alone.")
        named = [_named(image) for image in images]
        removed = removal.remove(self._job, removal.Asked(images=named), lambda event: None)
        self._job = self._job.renewed()
        return removed.count

    def status(self) -> "Status":
        """How far the job is and who works on it: what `lookalike status --json` says, as an object.

        Raises CorruptFile when a file of the job is not right.
        """
        with extras.needed("To read the status of a job"):
            from coordinator.jobs import activity
            from coordinator.jobs.progress import ProgressReader
            from lookalike.status import Status
        return Status.of(
            ProgressReader(self._job).read(),
            activity.look(self._job, self._job.manifest.identity, self._settings),
        )

    def _client(self) -> Client:
        """A client with a worker behind it, started at the first search where there is no broker."""
        if self._running is not None and self._running.pid != os.getpid():
            self._running = None  # Of the process that this one was forked from, which still needs it.
        if self._running is not None:
            self._running.revive()
            return self._running.client
        with ExitStack() as stack:
            if self._settings.broker_url:
                client = stack.enter_context(Client(self._job.path, self._settings.broker_url))
                self._running = Running(self, client, lambda: None, stack.pop_all())
                return client
            with extras.needed("To search without a broker"):
                from coordinator.local.resources import service_for_search
                from shared.job.partition.committed import require_embedded
            require_embedded(self._job.renewed())
            service = service_for_search(stack, self._job, self._settings, Client)
            assert isinstance(service.client, Client)
            self._running = Running(self, service.client, service.revive, stack.pop_all())
            return service.client


def _named(image: object) -> str:
    """An image as a command takes it: its id in digits, or its path."""
    if isinstance(image, Integral) and not isinstance(image, bool):
        if image < 0:
            raise UsageError(f"{image} is no image id: ids begin with 0.")
        return str(int(image))
    if isinstance(image, str | os.PathLike) and isinstance(path := os.fspath(image), str):
        return path
    raise UsageError(f"{image!r:.80} names no image: give its id or its path.")
