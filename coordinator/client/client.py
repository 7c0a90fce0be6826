"""Send queries to the query workers behind a broker, and await their hits."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, SupportsIndex

import numpy as np
import numpy.typing as npt
from celery.result import AsyncResult

from coordinator.client.change_messages import Addable, Metadata, adding, deleting, updating
from coordinator.client.pending_reply import PendingReply
from coordinator.client.queries import Queryable, as_query, groups, identity_here
from coordinator.client.sent_change import awaited
from coordinator.client.sent_queries import PING_SECONDS, QueryBroker, SentQueries
from coordinator.client.shard_queries import Groups, ShardQueries
from shared.broker.connection import (
    CONNECTION_ERRORS,
    RESULT_EXPIRES_SECONDS,
    make_app,
    require_broker,
)
from shared.errors import QueryError
from shared.job.directory import JobDir, check_job_id
from shared.messages.changes import ChangeJob
from shared.messages.filter import Filter
from shared.messages.finer import Finer
from shared.messages.query import Query
from shared.messages.search import MAX_K, Answer, Hit, SearchJob
from shared.messages.shards import Held
from shared.messages.tasks import CHANGE_TASK, EMBED_QUEUE, QUERY_QUEUE, SEARCH_TASK
from shared.messages.verified import NEVER, PLAIN, Verify
from shared.settings import load_settings

_QUERIES_PER_TASK = 64
# Each may take seconds, and the first of a task is not answered before the last.
_VERIFIED_PER_TASK = 1


class Client:
    """Searches a job through the query workers behind a broker.

    `job` is a job's directory, its URL or its id; `broker` a redis:// URL, by default the one of the settings
    (environment or lookalike.toml). A directory or URL that can be read here means exactly the job in it: `identity` is
    that job's. An id, or a directory that is not here, means any job of that name that a worker has; `identity` is
    None, and `PendingReply.answered_by` says which one answered. One client serves one thread; create one for each.
    """

    reply: type[PendingReply] = PendingReply
    """The class of the replies that `enqueue` returns."""

    def __init__(self, job: str | os.PathLike[str], broker: str | None = None) -> None:
        """Raises BrokerUnreachable when nothing answers, SettingsError when no broker is known, JobError for an id, and
        as `load_manifest` does for the directory of a job that is not whole."""
        self._settings = load_settings().changed(broker_url=broker)
        text = str(job) if isinstance(job, Path) else os.fspath(job)
        directory = JobDir.at(Path(text)) if os.sep in text else None
        self.job_id = check_job_id(text) if directory is None else directory.job_id
        self.identity = None if directory is None else identity_here(directory)
        self._app = make_app(self._settings)
        self._broker = QueryBroker(self._app, self._settings)
        self._groups = Groups(self._settings)
        self._out: set[SentQueries | ShardQueries] = set()
        require_broker(self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; replies that have not come are given up."""
        for sent in self._out:
            sent.give_up()
        self._out.clear()
        self._groups.close()
        self._app.close()

    def search(
        self,
        query: Queryable,
        k: int = 10,
        *,
        exact: bool = False,
        ids: npt.ArrayLike | None = None,
        where: str | None = None,
        partial: bool = False,
        verify: str = NEVER,
        views: int = 1,
        finer: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
    ) -> Sequence[Hit]:
        """The `k` images of the job most like `query`, best first; raises as `PendingReply.result` does.

        `query` is the path of an image, its encoded bytes, an RGB array uint8 [h, w, 3], or a vector float [d]. With
        `exact` it is compared with every embedding of the job, without the index. One of `ids` and `where` limits the
        hits: `ids` to these image ids (up to 1,000,000), `where` by an SQL expression over the metadata of an image,
        such as "width >= 1000 and image_path like '%/cats/%'". With `partial`, the shards of an index that no query
        worker holds are passed over; `PendingReply.searched` says which were searched. With `verify`, "auto" or
        "always", the pictures of the nearest images are compared with that of the query, and hits have verdicts; an
        image is searched for by as many `views`, the whole and parts of it. A `finer` model, by its name or file,
        orders the nearest images too, where the query worker may run it.
        """
        how: dict[str, Any] = {"exact": exact, "ids": ids, "where": where, "partial": partial}
        return self.enqueue([query], k, **how, verify=verify, views=views, finer=finer)[0].result(timeout)

    def enqueue(
        self,
        queries: Iterable[Queryable],
        k: int = 10,
        *,
        exact: bool = False,
        ids: npt.ArrayLike | None = None,
        where: str | None = None,
        partial: bool = False,
        verify: str = NEVER,
        views: int = 1,
        finer: str | os.PathLike[str] | None = None,
    ) -> Sequence[PendingReply]:
        """Send `queries` and return at once, a pending reply for each in the same order; `search` says what they are.

        Many queries share a task. Raises ImageError for a file that can't be read, QueryError for an invalid query or
        filter or a `k` out of range, BrokerUnreachable when the broker does not take them.
        """
        most = self._settings.max_query_bytes
        made = [as_query(query, most) for query in queries]
        filter, how = Filter.of(ids, where), Verify.of(verify, views)
        words = self._settings.finer_input, self._settings.finer_output
        model = None if finer is None else Finer.of(finer, *words)
        return self.enqueue_queries(made, k, exact=exact, filter=filter, partial=partial, verify=how, finer=model)

    def enqueue_queries(
        self,
        queries: Sequence[Query],
        k: int = 10,
        *,
        exact: bool = False,
        filter: Filter | None = None,
        partial: bool = False,
        verify: Verify = PLAIN,
        finer: Finer | None = None,
    ) -> Sequence[PendingReply]:
        """`enqueue` for queries that `as_query` has made already."""
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
            raise QueryError(f"k is {k!r}; a search gives 1 to {MAX_K} hits.")
        replies: list[PendingReply] = []
        together = _QUERIES_PER_TASK if verify.how == NEVER and finer is None else _VERIFIED_PER_TASK
        for group in groups(queries, min(together, self._settings.max_queries)):
            message = SearchJob(self.job_id, tuple(group), k, exact, filter, self.identity, verify, finer)
            sent = self._send(message, partial)
            replies += [self.reply(self, sent, position) for position in range(len(group))]
        return replies

    def add(
        self,
        images: "Iterable[Addable] | np.ndarray",
        metadata: Iterable[Metadata] | None = None,
        *,
        paths: Iterable[str] | None = None,
        request: str | None = None,
        timeout: float = 120.0,
    ) -> list[int]:
        """Add images to the job, or to one of imported vectors vectors, float [n, d]; all or none, in one change.

        Returns their ids once a query worker finds them. An embed worker does it; raises what it raises, and NoWorker,
        ReplyTimeout, BrokerUnreachable and BrokerRefuses as a search does.
        """
        return self._change(adding(self.job_id, images, metadata, paths, request), timeout)

    def update(
        self,
        image_id: SupportsIndex,
        image: "Addable | np.ndarray | None" = None,
        metadata: Metadata | None = None,
        *,
        request: str | None = None,
        timeout: float = 120.0,
    ) -> int:
        """Put another image in the place of one, or give it other metadata; returns the id that it has now.

        The old id is removed in the same change. Raises as `add` does.
        """
        return self._change(updating(self.job_id, image_id, image, metadata, request), timeout)[0]

    def delete(self, ids: Iterable[SupportsIndex], *, request: str | None = None, timeout: float = 120.0) -> int:
        """Remove images from all answers, all of `ids` or none; returns how many. Raises as `add` does."""
        return len(self._change(deleting(self.job_id, ids, request), timeout))

    def _change(self, message: ChangeJob, timeout: float) -> list[int]:
        message = replace(message, identity=self.identity)
        shown = f"{self.job_id} {message.action} {max(len(message), len(message.ids))}"
        # What nobody waits for any more must not be begun.
        result = self._task(CHANGE_TASK, message.to_json(), shown, timeout)
        broker = QueryBroker(self._app, self._settings, EMBED_QUEUE)
        return list(awaited(broker, result, message, timeout).ids)

    def has_worker(
        self, node: str | None = None, *, passing: tuple[str, ...] = (), seconds: float = PING_SECONDS
    ) -> bool:
        """Whether a worker that consumes the query queue answers within `seconds`; `node` asks that one alone.

        Workers whose node name begins with one of `passing` do not count.
        """
        return self._broker.has_worker(node, passing=passing, seconds=seconds)

    def _send(self, message: SearchJob, partial: bool) -> SentQueries | ShardQueries:
        groups = self._groups.now()
        sent: SentQueries | ShardQueries
        if groups:

            def to_all() -> dict[Held, SentQueries]:
                return {held: self._sent(message, lambda sent: None, held.queue) for held in groups}

            sent = ShardQueries(to_all, message.k, self._broker.shown, self._out.discard, partial=partial)
        else:
            sent = self._sent(message, self._out.discard)
        self._out.add(sent)
        return sent

    def _sent(self, message: SearchJob, done: Callable[[SentQueries], None], queue: str = QUERY_QUEUE) -> SentQueries:
        shown = f"{self.job_id} {len(message.queries)} queries, k={message.k}"
        options: dict[str, str] = {} if queue == QUERY_QUEUE else {"queue": queue}
        result = self._task(SEARCH_TASK, message.to_json(), shown, RESULT_EXPIRES_SECONDS, **options)
        broker = QueryBroker(self._app, self._settings, queue)
        return SentQueries(broker, result, len(message.queries), done)

    def _task(
        self, task: str, message: dict[str, Any], shown: str, expires: float, **options: Any
    ) -> "AsyncResult[Any]":
        options |= {"args": [message], "argsrepr": shown, "retry": False, "expires": expires}
        try:
            return self._app.send_task(task, **options)
        except CONNECTION_ERRORS:
            # A pooled connection that the broker has dropped fails only on use; a second try makes a new one.
            try:
                return self._app.send_task(task, **options)
            except CONNECTION_ERRORS as error:
                raise self._broker.unreachable(error) from None

    def hits(self, answer: Answer) -> Sequence[Hit]:
        """The hits of an answer in the class that callers get."""
        return list(answer.hits)
