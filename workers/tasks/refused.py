"""End a worker that its broker refuses for good, such as after a lost permission, instead of asking for ever."""

import logging
import os
import threading
from typing import Any

from celery import Celery
from celery.worker import state
from celery.worker.consumer import consumer

from shared.broker.connection import refused
from shared.broker.refusals import permanent

log = logging.getLogger("lookalike.worker")

# The time that a task needs for its batch; after that Celery would wait for the broker, to tell it that the worker
# leaves.
_END_SECONDS = 20.0
_STATUS = 1


def end_if_refused(app: Celery, error: BaseException | None) -> None:
    """End this worker with status 1, and say why, if `error` is one that waiting will not change.

    Tasks stop after their batch: what is committed stays, and their messages come back to other workers.
    """
    reason = permanent(error)
    if reason is None or app.lookalike.stopping.is_set():
        return
    log.critical("%s This worker ends; what is committed is safe.", refused(app.lookalike.settings, reason))
    app.lookalike.stopping.set()
    state.should_stop = _STATUS  # Celery's consumer looks at it at each turn, and between two tries to connect.
    last = threading.Timer(_END_SECONDS, os._exit, (_STATUS,))
    last.daemon = True
    last.start()


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """Celery's consumer, which reconnects after any error, also after one that repeats at each try."""

    def ensure_connected(self, conn: Any) -> Any:
        connecting = conn.ensure_connection

        def told(errback: Any, *arguments: Any, **options: Any) -> Any:
            def failed(error: Exception, *rest: Any) -> Any:
                end_if_refused(self.app, error)
                return errback(error, *rest)

            return connecting(failed, *arguments, **options)

        conn.ensure_connection = told
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        end_if_refused(self.app, exc)
        super().on_connection_error_after_connected(exc)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        end_if_refused(self.app, exc)
        super().on_connection_error_before_connected(exc)
