"""Await the answers of queries that were sent in one task; the first caller who asks waits for all."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult

from coordinator.client.lost_query import is_lost
from shared.broker.connection import CONNECTION_ERRORS, connect, refused
from shared.broker.queues import queued_tasks
from shared.broker.refusals import permanent
from shared.broker.url import redacted
from shared.errors import (
    BrokerError,
    BrokerUnreachable,
    LookalikeError,
    MessageError,
    NoWorker,
    ReplyTimeout,
    WorkerFailed,
)
from shared.errors.remedy import Remedy
from shared.messages.search import Answer, AnsweredBy, reply_from_json
from shared.messages.tasks import QUERY_QUEUE
from shared.settings import Settings

# How long a reply may take before the client looks whether there is any worker to give it.
_PATIENCE_SECONDS = 3.0
PING_SECONDS = 1.5


class QueryBroker:
    """Ask the broker and the workers of a queue about tasks that were sent. `app` is Celery's."""

    def __init__(self, app: Any, settings: Settings, queue: str = QUERY_QUEUE) -> None:
        self._app, self._settings, self._queue = app, settings, queue

    @property
    def shown(self) -> str:
        """The broker's address without its secrets."""
        return redacted(self._settings.broker_url or "")

    def unreachable(self, error: Exception) -> BrokerError:
        """The error to raise for an error of the broker: BrokerRefuses if waiting would change nothing."""
        if (reason := permanent(error)) is not None:
            return refused(self._settings, reason)
        return BrokerUnreachable(
            f"The broker {self.shown} does not answer ({error}): start it again; nothing of the job is lost."
        )

    def has_worker(
        self, node: str | None = None, *, passing: tuple[str, ...] = (), seconds: float = PING_SECONDS
    ) -> bool:
        """Whether a worker that consumes the queue answers within `seconds`; `node` asks that one alone.

        Workers whose node name begins with one of `passing` do not count.
        """
        asked = {"destination": [node], "limit": 1} if node else {}
        try:
            found = self._app.control.inspect(timeout=seconds, **asked).active_queues() or {}
        except CONNECTION_ERRORS as error:
            raise self.unreachable(error) from None
        staying = [queues for name, queues in found.items() if not name.startswith(passing)]
        return any(queue["name"] == self._queue for queues in staying for queue in queues)

    def nobody_takes(self, task_id: str) -> bool:
        """Whether a message still waits and no worker says that it will take it.

        A worker that has taken it may be too busy to answer: loading a model keeps Python's lock for seconds.
        """
        try:
            with connect(self._settings) as client:
                waits = any(task == task_id for task in queued_tasks(client, self._queue))
        except CONNECTION_ERRORS as error:
            raise self.unreachable(error) from None
        return waits and not self.has_worker()

    def cancel(self, task_id: str) -> None:
        """Tell the workers to leave a task alone that they have not begun."""
        try:
            self._app.control.revoke(task_id)
        except CONNECTION_ERRORS as error:
            raise self.unreachable(error) from None

    def is_lost(self, task_id: str) -> bool:
        """Whether the worker that took a message has ended; see `coordinator.client.lost_query`."""
        try:
            return is_lost(self._app, self._settings, task_id, self._queue)
        except CONNECTION_ERRORS as error:
            raise self.unreachable(error) from None


class SentQueries:
    """One task under way, shared by the replies of its queries; `done` is called when nothing of it is pending any
    more.
    """

    def __init__(
        self,
        broker: QueryBroker,
        result: "AsyncResult[Any]",
        queries: int,
        done: "Callable[[SentQueries], None]",
    ) -> None:
        self._broker = broker
        self._queries = queries
        self._done = done
        self._result: AsyncResult[Any] | None = result
        self._answers: list[Answer] = []
        self.task_id = str(result.id)

    def answers(self, timeout: float) -> list[Answer]:
        """The answers, awaited by the first who asks; raises as `PendingReply.result` does."""
        if self._result is not None:
            answers = reply_from_json(self.reply(timeout))
            if len(answers) != self._queries:
                raise MessageError(
                    f"A worker gave {len(answers)} answers to {self._queries} queries: run the same version everywhere."
                )
            self._answers = answers
            self.give_up()
            self._done(self)
        if not self._answers:
            raise ReplyTimeout("This reply was given up when its client was closed: await replies before that.")
        return self._answers

    @property
    def answered_by(self) -> AnsweredBy | None:
        return self._answers[0].answered_by if self._answers else None

    def give_up(self) -> None:
        """Drop the result while its broker connection exists: a Celery result that outlives it complains at exit."""
        if self._result is not None:
            with contextlib.suppress(*CONNECTION_ERRORS, RuntimeError):
                self._result.forget()
            self._result = None

    def cancel(self) -> None:
        """Tell the workers to leave the task alone if they have not begun it; any thread may."""
        self._broker.cancel(self.task_id)

    def drop(self) -> None:
        """Give up a result that nobody will ask for any more."""
        self.give_up()
        self._done(self)

    def reply(self, timeout: float) -> Any:
        """What the task returned; looks for a worker if it takes long. Raises as `PendingReply.result` does."""
        result = self._result
        assert result is not None
        deadline = time.monotonic() + timeout
        nobody = False
        try:
            while not nobody:
                left = deadline - time.monotonic()
                try:
                    return result.get(timeout=max(0.01, min(left, _PATIENCE_SECONDS)))
                except CeleryTimeout:
                    # It asks twice: a worker that reads a very large message does not answer meanwhile.
                    nobody = all(self._broker.nobody_takes(self.task_id) for _ in range(2))
                    if left <= _PATIENCE_SECONDS:
                        break
                    if not nobody and self._broker.is_lost(self.task_id) and not result.ready():
                        raise WorkerFailed(
                            "The query worker that took these queries ended, or was cut off from the broker, before it "
                            "answered: ask again. Its log says more, if it ends each time."
                        ) from None
        except CONNECTION_ERRORS as error:
            raise self._broker.unreachable(error) from None
        except LookalikeError:
            raise
        except Exception as error:  # The error of the task, as Celery rebuilds it, can be of any class.
            raise WorkerFailed(f"The query worker failed: {error}. Its log says where.") from None
        if nobody:
            raise NoWorker(
                f"No query worker runs behind {self._broker.shown}",
                remedy=Remedy("worker", does="start one with {}", given={"role": "query"}),
            )
        raise ReplyTimeout(
            f"A query worker is there, but the reply did not come within {timeout:g} s: "
            "it may be loading its model or have many queries to answer; allow a longer timeout."
        )
