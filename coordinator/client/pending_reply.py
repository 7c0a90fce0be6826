"""The reply to one query that was sent with others; it is awaited when someone asks for it."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from coordinator.client.sent_queries import SentQueries
from coordinator.client.shard_queries import ShardQueries
from shared.errors import LookalikeError, MessageError
from shared.messages.finer import Refined
from shared.messages.search import Answer, AnsweredBy, Hit, Searched
from shared.messages.verified import Verified

if TYPE_CHECKING:
    from coordinator.client.client import Client

# What a worker of a version without verdicts, or without finer models, says of a message that asks for them.
_OLDER = re.compile(r"message must hold .*'(verify|views)'")
_COARSER = re.compile(r"message must hold .*'finer'")


class PendingReply:
    """The reply to one query that was enqueued. `result()` waits for it."""

    def __init__(self, client: "Client", sent: SentQueries | ShardQueries, position: int) -> None:
        self._client = client
        self._sent = sent
        self._position = position

    def answer(self, timeout: float = 30.0) -> Answer:
        """Hits with the worker's milliseconds; raises as `result` does."""
        answer = self._sent.answers(timeout)[self._position]
        if answer.error is not None:
            raise _told(answer.error)
        return answer

    def result(self, timeout: float = 30.0) -> Sequence[Hit]:
        """The hits, best first, waiting up to `timeout` seconds.

        Raises the error of this query: ImageError for an image that can't be decoded, QueryError for a vector that does
        not fit, NoIndexYet for a job of which nothing is embedded, AnotherJob from a worker whose job of that name is
        not the client's, NoWorker when no query worker runs, WorkerFailed when the one that took the query ended, which
        is seen after some seconds, ReplyTimeout when one runs but was too slow, BrokerUnreachable when the broker went
        away, BrokerRefuses when it lacks a permission or a setting.
        """
        return self._client.hits(self.answer(timeout))

    def cancel(self) -> None:
        """Tell the workers to leave the task of this query alone if they have not begun it: `result` then raises soon.

        Any thread may call it, while another waits for the result. Queries that were sent in the same task go with it.
        Raises BrokerUnreachable when the broker is away.
        """
        self._sent.cancel()

    def give_up(self) -> None:
        """Drop the reply, which nobody will ask for any more, and those of its task; in the client's thread."""
        self._sent.drop()

    @property
    def verified(self) -> Verified | None:
        """What was compared so that hits have verdicts, or why there are none; None before the reply was awaited, for
        an error, and where nothing was to be verified."""
        return self._sent.answers(0.01)[self._position].verified if self._sent.answered_by else None

    @property
    def refined(self) -> Refined | None:
        """What a finer model compared, or why it compared nothing; None before the reply was awaited, for an error, and
        where none was asked for."""
        return self._sent.answers(0.01)[self._position].refined if self._sent.answered_by else None

    @property
    def answered_by(self) -> AnsweredBy | None:
        """The worker that answered and the job it answered from; None before the reply was awaited, or for an error
        that concerned no job."""
        return self._sent.answered_by

    @property
    def searched(self) -> Searched | None:
        """How much of the job was searched; its `shards` say which, of workers that each hold some shards of the index.
        None before the reply was awaited, and for an error."""
        return self._sent.answers(0.01)[self._position].searched if self._sent.answered_by else None


def _told(error: LookalikeError) -> LookalikeError:
    """The error of a query; of a worker that does not know what was asked for, with what to do."""
    if isinstance(error, MessageError) and _COARSER.search(str(error)):
        return MessageError(
            "The query worker is of an older version of lookalike, which runs no finer model: run the same version "
            "everywhere, or search without."
        )
    if not isinstance(error, MessageError) or not _OLDER.search(str(error)):
        return error
    return MessageError(
        "The query worker is of an older version of lookalike, which gives no verdicts and takes no views: run the "
        "same version everywhere, or search without both."
    )
