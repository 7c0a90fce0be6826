"""Search a job through query workers, with hits that give and show their images."""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

from coordinator.client import client, pending_reply
from lookalike.hits import Hit, Hits
from shared.messages.search import Answer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from coordinator.client.change_messages import Addable, Metadata
    from coordinator.client.queries import Queryable


class PendingReply(pending_reply.PendingReply):
    """The reply to one query that was enqueued; `result` waits for it."""

    def result(self, timeout: float = 30.0) -> Hits:
        """Wait for the hits of the query, best first.

        Parameters
        ----------
        timeout
            Seconds to wait. After a ReplyTimeout you may ask again.

        Raises
        ------
        LookalikeError
            The error of this query, as `Client.search` raises it.
        """
        found = super().result(timeout)
        assert isinstance(found, Hits)
        return found


class Client(client.Client):
    """Searches a job through the query workers behind a broker; use it as a context manager, in one thread.

    Parameters
    ----------
    job
        The id of a job, or its directory or URL. Any worker with a job of that name answers for an id; a directory or
        URL that can be read here means exactly the job in it.
    broker
        A redis:// or rediss:// URL; by default that of the environment or of lookalike.toml.
    """

    reply = PendingReply

    def __init__(self, job: str | os.PathLike[str], broker: str | None = None) -> None:
        """Raises BrokerUnreachable when nothing answers, SettingsError when no broker is known, JobError for an id."""
        super().__init__(job, broker)

    def search(
        self,
        query: "Queryable",
        k: int = 10,
        *,
        exact: bool = False,
        ids: "npt.ArrayLike | None" = None,
        where: str | None = None,
        partial: bool = False,
        verify: str = "never",
        views: int = 1,
        finer: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
    ) -> Hits:
        """Find the images most like a query.

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
        partial
            Whether shards of the index that no query worker holds may be passed over; NoWorker is raised otherwise.
            `searched` of the hits says which were searched.
        verify
            Whether the pictures of the nearest images are compared with that of the query, so that hits have a
            `verdict`: "always", "auto" where one is near enough for doubt, or "never".
        views
            By how many views an image is searched for, 1 to 16: the whole, the pictures on it that borders part or
            frame, its centre and its corners.
        finer
            A second model that orders the nearest images too: a name, or the path of a .keras or .onnx file.
        timeout
            Seconds to wait.

        Returns
        -------
        Hits
            The hits, best first. Their `searched` says how much of the job was searched: less than all of it while it
            is being embedded, and where shards were passed over. Their `verified` says what was compared, or why there
            are no verdicts. Those that are proven to show the same come first.

        Raises
        ------
        LookalikeError
            ImageError, QueryError, NoIndexYet, NoWorker, ReplyTimeout, BrokerUnreachable and others, each with a
            sentence.
        """
        more: dict[str, Any] = {"verify": verify, "views": views, "finer": finer, "timeout": timeout}
        found = super().search(query, k, exact=exact, ids=ids, where=where, partial=partial, **more)
        assert isinstance(found, Hits)
        return found

    def enqueue(
        self,
        queries: "Iterable[Queryable]",
        k: int = 10,
        *,
        exact: bool = False,
        ids: "npt.ArrayLike | None" = None,
        where: str | None = None,
        partial: bool = False,
        verify: str = "never",
        views: int = 1,
        finer: str | os.PathLike[str] | None = None,
    ) -> Sequence[PendingReply]:
        """Send many queries and return at once, with a pending reply for each in the same order.

        Parameters
        ----------
        queries
            Paths or URLs of images, encoded bytes, RGB arrays or vectors, as for `search`.
        k, exact, ids, where, partial, verify, views, finer
            As for `search`, for all queries.

        Returns
        -------
        list of PendingReply
            One for each query; `result` waits for its hits.

        Raises
        ------
        LookalikeError
            ImageError for a file that can't be read, QueryError for an invalid query, BrokerUnreachable when the broker
            does not take the queries. Nothing more is sent then.
        """
        more: dict[str, Any] = {"verify": verify, "views": views, "finer": finer}
        replies = super().enqueue(queries, k, exact=exact, ids=ids, where=where, partial=partial, **more)
        return [reply for reply in replies if isinstance(reply, PendingReply)]

    def add(
        self,
        images: "Iterable[Addable] | np.ndarray",
        metadata: "Iterable[Metadata] | None" = None,
        *,
        paths: Iterable[str] | None = None,
        request: str | None = None,
        timeout: float = 120.0,
    ) -> list[int]:
        """Add images to the job, all or none, and return their ids.

        An embed worker adds them, after what waits in its queue. Query workers find them from their next query on; of a
        job in a bucket within two seconds.

        Parameters
        ----------
        images
            Paths or URLs that the worker can read, or (name, bytes) for images that the job is to hold itself; up to
            10,000, and 64 MiB of bytes. For a job of imported vectors the vectors, float [n, d].
        metadata
            For each image its values by the columns of the job's metadata, such as {"year": 1999}.
        paths
            For each vector the path of its image, or any other text that no other image of the job has.
        request
            A name for this request. The same request again, as after a ReplyTimeout, is done once, and gives the same
            ids.
        timeout
            Seconds to wait. A change that no worker has begun by then is not made any more.

        Raises
        ------
        LookalikeError
            ImageError for an image that can't be embedded, JobError for a path that the job has already, UsageError for
            a column that it does not have, JobBusy while another process changes it for long, NoWorker, ReplyTimeout
            and others, each with a sentence. Nothing is added then, unless it is a ReplyTimeout.
        """
        return super().add(images, metadata, paths=paths, request=request, timeout=timeout)

    def update(
        self,
        image_id: SupportsIndex,
        image: "Addable | np.ndarray | None" = None,
        metadata: "Metadata | None" = None,
        *,
        request: str | None = None,
        timeout: float = 120.0,
    ) -> int:
        """Put another image in the place of one, or give it other metadata; return the id that it has now.

        Parameters
        ----------
        image_id
            The id of the image. It is removed in the same change: an id always means one image with one metadata.
        image
            What takes its place, as for `add`; None to keep the image, which is not read again then.
        metadata
            Values by column that are new; the others stay as they were.
        request, timeout
            As for `add`.

        Raises
        ------
        LookalikeError
            JobError for an id that was never given or was removed, and what `add` raises. Nothing is changed then.
        """
        return super().update(image_id, image, metadata, request=request, timeout=timeout)

    def delete(self, ids: Iterable[SupportsIndex], *, request: str | None = None, timeout: float = 120.0) -> int:
        """Remove images from all answers, all or none, and return how many.

        Parameters
        ----------
        ids
            Image ids, as hits have them.
        request, timeout
            As for `add`.

        Raises
        ------
        LookalikeError
            JobError for an id that was never given or was removed before, and what `add` raises. Nothing is removed
            then.
        """
        return super().delete(ids, request=request, timeout=timeout)

    def hits(self, answer: Answer) -> Hits:
        """The hits of an answer, as hits that give their images."""
        return Hits(map(Hit.of, answer.hits), answer.searched, answer.verified, answer.refined)
