"""Await what became of a change that was sent: a worker makes it once, also if it comes to a second one."""

import contextlib
import time
from typing import Any, Final

from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult

from coordinator.client.sent_queries import QueryBroker
from shared.broker.connection import CONNECTION_ERRORS
from shared.errors import NoWorker, ReplyTimeout, WorkerFailed
from shared.errors.remedy import Remedy
from shared.messages.changed import Changed, changed_from_json
from shared.messages.changes import ChangeJob

# How long a reply may take before the client looks whether there is any worker to give it.
_PATIENCE_SECONDS: Final = 3.0


def awaited(broker: QueryBroker, result: "AsyncResult[Any]", message: ChangeJob, timeout: float) -> Changed:
    """What a change did, within `timeout` seconds.

    Raises the error that a worker gives; NoWorker where none takes it; ReplyTimeout where one has begun or is busy:
    only the same request again says whether it was made.
    """
    deadline = time.monotonic() + timeout
    try:
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(CeleryTimeout):
                return changed_from_json(_reply(result, min(left, _PATIENCE_SECONDS)))
            # It asks twice: a worker that reads a very large message does not answer meanwhile.
            if broker.nobody_takes(str(result.id)) and broker.nobody_takes(str(result.id)):
                raise NoWorker(
                    f"No embed worker runs behind {broker.shown} to make the change, and one that starts within "
                    f"{timeout:g} s of the call still makes it",
                    remedy=Remedy("worker", does="start one with {}", given={"role": "embed"}),
                )
    except CONNECTION_ERRORS as error:
        raise broker.unreachable(error) from None
    finally:
        # A Celery result that outlives its connection complains at exit.
        with contextlib.suppress(*CONNECTION_ERRORS, RuntimeError):
            result.forget()
    raise ReplyTimeout(
        f"The change was not made within {timeout:g} s: an embed worker loads its model, or has other work before it. "
        f"It may still be made; the same call with the request {message.request!r} says so, and does nothing twice."
    )


def _reply(result: "AsyncResult[Any]", seconds: float) -> Any:
    try:
        return result.get(timeout=max(0.01, seconds))
    except (CeleryTimeout, *CONNECTION_ERRORS):
        raise
    except Exception as error:  # The error of the task, as Celery rebuilds it, can be of any class.
        raise WorkerFailed(f"The embed worker failed: {error}. Its log says where.") from None
