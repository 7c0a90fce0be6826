"""Search a job through query workers, with hits that give and show their images."""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from coordinator.client import client
from lookalike.hits import Hit, Hits
from shared.messages.search import Answer

if TYPE_CHECKING:
    import numpy.typing as npt

    from coordinator.client.queries import Queryable


class PendingReply(client.PendingReply):
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
            `PendingReply.searched` says which were searched, for queries that were enqueued.
        timeout
            Seconds to wait.

        Returns
        -------
        Hits
            The hits, best first.

        Raises
        ------
        LookalikeError
            ImageError, QueryError, NoIndexYet, NoWorker, ReplyTimeout, BrokerUnreachable and others, each with a
            sentence.
        """
        found = super().search(query, k, exact=exact, ids=ids, where=where, partial=partial, timeout=timeout)
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
    ) -> Sequence[PendingReply]:
        """Send many queries and return at once, with a pending reply for each in the same order.

        Parameters
        ----------
        queries
            Paths or URLs of images, encoded bytes, RGB arrays or vectors, as for `search`.
        k, exact, ids, where, partial
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
        replies = super().enqueue(queries, k, exact=exact, ids=ids, where=where, partial=partial)
        return [reply for reply in replies if isinstance(reply, PendingReply)]

    def hits(self, answer: Answer) -> Hits:
        """The hits of an answer, as hits that give their images."""
        return Hits(Hit(hit.rank, hit.id, hit.image_path, hit.similarity) for hit in answer.hits)
