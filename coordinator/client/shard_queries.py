"""Send queries to all query workers that hold some shards of an index, and await what they find together."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coordinator.client.joined import Replies, joined
from coordinator.client.sent_queries import SentQueries
from shared.broker.connection import CONNECTION_ERRORS, connect
from shared.broker.holders import announced
from shared.errors import LookalikeError, NoWorker, ReplyTimeout, SettingsError, WorkerFailed
from shared.messages.search import Answer, AnsweredBy
from shared.messages.shards import Held
from shared.messages.tasks import QUERY_QUEUE
from shared.settings import Settings

# How long it is believed which workers there are: each query would ask the broker once more otherwise.
_BELIEVED_SECONDS = 5.0
# So often queries are sent again whose answers came from different builds.
_TRIES = 3


class Groups:
    """Which groups of query workers there are that hold the same shards, as they say themselves."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Kept open: to connect anew may take longer than a query does.
        self._redis: Any = None
        self._asked = -_BELIEVED_SECONDS
        self._known: Sequence[Held] = ()

    def now(self) -> Sequence[Held]:
        """The groups; none where a worker holds all shards, or nobody says that it holds some."""
        if time.monotonic() - self._asked >= _BELIEVED_SECONDS:
            self._known, self._asked = self._ask(), time.monotonic()
        return self._known

    def _ask(self) -> Sequence[Held]:
        try:
            if self._redis is None:
                self._redis = connect(self._settings)
            queues = announced(self._redis)
        except CONNECTION_ERRORS:  # Sending says what is wrong.
            return self._known
        if QUERY_QUEUE in queues:
            return ()
        found = []
        for queue in queues:
            try:
                found.append(Held.of_queue(queue))
            except SettingsError:
                continue  # That of a later version.
        return found

    def close(self) -> None:
        """Close the connection by which they are asked for."""
        if self._redis is not None:
            self._redis.close()


class ShardQueries:
    """Queries that were sent to each group of holders; it has the methods of `SentQueries`."""

    def __init__(
        self,
        send: Callable[[], Mapping[Held, SentQueries]],
        k: int,
        shown: str,
        done: "Callable[[ShardQueries], None]",
        *,
        partial: bool,
    ) -> None:
        """`send` sends them to all groups, also again; `done` is called when nothing of them is pending any more."""
        self._send, self._k, self._shown, self._partial, self._done = send, k, shown, partial, done
        self._sent = send()
        self._answers: list[Answer] = []

    def answers(self, timeout: float) -> list[Answer]:
        """The joined answers; raises as `SentQueries.answers` and `joined` do."""
        if self._answers:
            return self._answers
        deadline = time.monotonic() + timeout
        replies = self._replies(deadline)
        for _ in range(_TRIES - 1):
            if len(replies.builds) < 2:
                break
            self._sent = self._send()
            replies = self._replies(deadline)
        answers = joined(replies, self._k, partial=self._partial, shown=self._shown)
        self._answers = answers
        self.give_up()
        self._done(self)
        return answers

    def _replies(self, deadline: float) -> Replies:
        answers: dict[Held, Sequence[Answer]] = {}
        failed: dict[Held, LookalikeError] = {}
        for held, sent in self._sent.items():
            try:
                answers[held] = sent.answers(max(0.01, deadline - time.monotonic()))
            except (NoWorker, ReplyTimeout, WorkerFailed) as error:
                failed[held] = error
        return Replies(answers, failed)

    @property
    def task_id(self) -> str:
        """The id of the first of the tasks."""
        return next(iter(self._sent.values())).task_id

    @property
    def answered_by(self) -> AnsweredBy | None:
        return self._answers[0].answered_by if self._answers else None

    def cancel(self) -> None:
        """Tell the workers of all groups to leave the tasks alone that they have not begun; any thread may."""
        for sent in list(self._sent.values()):
            sent.cancel()

    def drop(self) -> None:
        """Give up results that nobody will ask for any more."""
        self.give_up()
        self._done(self)

    def give_up(self) -> None:
        """Drop the results that have not come."""
        for sent in self._sent.values():
            sent.give_up()
