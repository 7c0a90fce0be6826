"""The client, whose hits give and show their images."""

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
        """The hits, best first, waiting up to `timeout` seconds; raises as `Client.search` does. It may be asked again
        after a ReplyTimeout."""
        found = super().result(timeout)
        assert isinstance(found, Hits)
        return found


class Client(client.Client):
    """Searches a job through the query workers behind a broker; use it as a context manager, in one thread.

    Parameters
    ----------
    job
        The id of a job, which any worker that serves one of that name answers, or its directory or URL, which means the
        job in it and no other.
    broker
        A redis:// or rediss:// URL; left out: the one of the environment or of lookalike.toml.
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
        timeout: float = 30.0,
    ) -> Hits:
        """The images most like a query.

        Parameters
        ----------
        query
            The path or URL of an image, `ARCHIVE::NAME` for one in an archive, its encoded bytes, an RGB array uint8
            [h, w, 3], or a vector float [d] of the job's model.
        k
            How many, 1 to 1,000; a job of fewer embedded images gives as many as it has.
        exact
            Compare with every embedding, without the index.
        ids
            The image ids that alone may be found, up to 1,000,000.
        where
            An SQL expression over the metadata that alone may be found, such as "width >= 1000"; not beside `ids`.
        timeout
            Seconds to wait.

        Returns the hits, best first. Raises ImageError, QueryError, NoIndexYet, NoWorker, ReplyTimeout,
        BrokerUnreachable and their like, each a LookalikeError with a sentence.
        """
        found = super().search(query, k, exact=exact, ids=ids, where=where, timeout=timeout)
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
    ) -> Sequence[PendingReply]:
        """Send many queries and return at once, with a pending reply for each in the same order.

        The parameters are those of `search`. Raises ImageError for a file that can't be read, QueryError for what can't
        be a query, BrokerUnreachable when the broker does not take them; then nothing more is sent.
        """
        replies = super().enqueue(queries, k, exact=exact, ids=ids, where=where)
        return [reply for reply in replies if isinstance(reply, PendingReply)]

    def hits(self, answer: Answer) -> Hits:
        """The hits of an answer, which give their images."""
        return Hits(Hit(hit.rank, hit.id, hit.image_path, hit.similarity) for hit in answer.hits)
